# XML::Compile (Perl): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor.
# It is the strictest reader of XML Schema that there is; the envelope is put around by hand.
use strict;
use warnings;
use Encode qw(decode_utf8 encode_utf8);
use JSON::PP;
use LWP::UserAgent;
use XML::Compile::Schema;
use XML::LibXML;

my ($url, $version, $visitor) = @ARGV;
my $agent = LWP::UserAgent->new(timeout => 30);
my $schema = XML::Compile::Schema->new($agent->get("$url?xsd=1")->content);
my $ns = 'urn:rte:v1';
my %envelope = ('1.1' => 'http://schemas.xmlsoap.org/soap/envelope/', '1.2' => 'http://www.w3.org/2003/05/soap-envelope');
my %service = (IngestEvents => 'EventService');

sub call {
    my ($name, $request) = @_;
    my $document = XML::LibXML::Document->new('1.0', 'UTF-8');
    my $body = $schema->compile(WRITER => "{$ns}$name", use_default_namespace => 1)->($document, {request => $request})->toString;
    my $action = "$ns:" . ($service{$name} // 'SessionService') . ":$name";
    my @headers = $version eq '1.1'
        ? ('Content-Type' => 'text/xml; charset=utf-8', SOAPAction => "\"$action\"")
        : ('Content-Type' => "application/soap+xml; charset=utf-8; action=\"$action\"");
    my $text = "<e:Envelope xmlns:e=\"$envelope{$version}\"><e:Body>$body</e:Body></e:Envelope>";
    my $answer = XML::LibXML->load_xml(string => $agent->post($url, @headers, Content => encode_utf8($text))->content);
    my ($content) = $answer->getElementsByTagNameNS($envelope{$version}, 'Body')->[0]->nonBlankChildNodes;
    return (undef, $content) if $content->localname eq 'Fault';
    return $schema->compile(READER => "{$ns}${name}Response")->($content)->{result};
}

my %event = (
    eventId => 'e-1', name => 'view_item', visitorId => $visitor, channel => decode_utf8("web <&> \xc3\xa9"),
    properties => {fields => [{key => 'price', value => {numberValue => 9.5}}]},
);
my $ingested = call('IngestEvents', {events => [{%event}, {%event, eventId => 'e-2'}], wait => 'WAIT_APPLIED'});
my $session = call('GetSession', {visitorId => $visitor})->{session};
my $listed = call('ListSessions', {filter => "session.visitor_id == \"$visitor\""})->{sessions};
my $attributes = {fields => [{key => 'tier', value => {stringValue => 'gold'}}, {key => 'vip', value => {boolValue => 1}}]};
my $updated = call('UpdateSession', {sessionId => $session->{sessionId}, attributes => $attributes})->{session};
my %written = map { ($_->{key} => $_->{value}) } @{$updated->{attributes}{fields}};
my (undef, $fault) = call('GetSession', {visitorId => "no-$visitor"});
my ($element) = $fault->getElementsByTagNameNS($ns, 'ServiceFaultDetail');
my $detail = $schema->compile(READER => "{$ns}ServiceFaultDetail")->($element);
my ($code) = $fault->findnodes('./*[local-name()="faultcode"] | ./*[local-name()="Code"]/*[local-name()="Value"]');
(my $short = $code->textContent) =~ s/.*://;
my $bool = sub { $_[0] ? JSON::PP::true : JSON::PP::false };
print JSON::PP->new->ascii->encode({
    accepted => $ingested->{acceptedCount} + 0,
    channel => $session->{channel},
    events => $session->{eventCount} + 0,
    listed => $bool->(@$listed == 1 && $listed->[0]{sessionId} eq $session->{sessionId}),
    tier => $written{tier}{stringValue},
    vip => $bool->($written{vip}{boolValue} eq 'true' || $written{vip}{boolValue} eq '1'),
    code => $short,
    reason => $detail->{reason},
    field => $detail->{field},
    retryable => $bool->($detail->{retryable} eq 'true' || $detail->{retryable} eq '1'),
}), "\n";
