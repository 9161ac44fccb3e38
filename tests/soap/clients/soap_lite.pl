# SOAP::Lite (Perl): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor.
# It knows no schema: it sends what it is given, in any order, with an encodingStyle. It reads no faults of SOAP 1.2.
use strict;
use warnings;
use JSON::PP;
use SOAP::Lite;

my ($url, $version, $visitor) = @ARGV;
my $client = SOAP::Lite->proxy($url)->default_ns('urn:rte:v1')->soapversion($version)->on_fault(sub { $_[1] });
$client->serializer->autotype(0)->readable(0);
my %service = (IngestEvents => 'EventService');

sub call {
    my ($name, @request) = @_;
    my $action = 'urn:rte:v1:' . ($service{$name} // 'SessionService') . ":$name";
    return $client->on_action(sub { "\"$action\"" })->call($name => field(request => \SOAP::Data->value(@request)));
}

sub field { my ($name, $value) = @_; return SOAP::Data->name($name => $value) }
sub text { my ($name, $value) = @_; return SOAP::Data->name($name => $value)->type('string') }
sub entry { my ($key, @value) = @_; return field(fields => \SOAP::Data->value(text(key => $key), field(value => \SOAP::Data->value(@value)))) }

sub event {
    my ($id) = @_;
    return field(events => \SOAP::Data->value(
        field(properties => \SOAP::Data->value(entry('price', text(numberValue => '9.5')))),
        text(visitorId => $visitor), text(name => 'view_item'), text(channel => "web <&> \x{e9}"), text(eventId => $id),
    ));
}

my $ingested = call('IngestEvents', event('e-1'), event('e-2'), text(wait => 'WAIT_APPLIED'))->result;
my $session = call('GetSession', text(visitorId => $visitor))->result->{session};
my $listed = call('ListSessions', text(filter => "session.visitor_id == \"$visitor\""))->result->{sessions};
my $answer = call('UpdateSession', text(sessionId => $session->{sessionId}),
    field(attributes => \SOAP::Data->value(entry('tier', text(stringValue => 'gold')), entry('vip', text(boolValue => 'true')))));
my %written = map { ($_->{key} => $_->{value}) } @{$answer->result->{session}{attributes}{fields}};
my $fault = call('GetSession', text(visitorId => "no-$visitor"));
my $detail = $fault->faultdetail->{ServiceFaultDetail};
(my $code = $fault->faultcode) =~ s/.*://;
my $bool = sub { $_[0] eq 'true' ? JSON::PP::true : JSON::PP::false };
print JSON::PP->new->ascii->encode({
    accepted => $ingested->{acceptedCount} + 0,
    channel => $session->{channel},
    events => $session->{eventCount} + 0,
    listed => $bool->($listed->{sessionId} eq $session->{sessionId} ? 'true' : 'false'),
    tier => $written{tier}{stringValue},
    vip => $bool->($written{vip}{boolValue}),
    code => $code,
    reason => $detail->{reason},
    field => $detail->{field},
    retryable => $bool->($detail->{retryable}),
}), "\n";
