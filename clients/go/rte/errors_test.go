package rte

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	rtev1 "github.com/rte-server/rte/clients/go/rte/v1"
)

// refusal returns an error as the server makes it, with a detail of another kind before the one that counts.
func refusal(t *testing.T, domain, reason string) error {
	t.Helper()
	info := &errdetails.ErrorInfo{Domain: domain, Reason: reason, Metadata: map[string]string{"field": "visitor_id"}}
	with, err := status.New(codes.NotFound, "no such session").WithDetails(&errdetails.RetryInfo{}, info)
	if err != nil {
		t.Fatal(err)
	}
	return with.Err()
}

// An error of the server has its reason, and nothing else has one.
func TestReason(t *testing.T) {
	known := refusal(t, Domain, "SESSION_NOT_FOUND")
	for name, each := range map[string]struct {
		err  error
		want rtev1.ErrorReason
	}{
		"known":          {known, rtev1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND},
		"wrapped":        {fmt.Errorf("reading: %w", known), rtev1.ErrorReason_ERROR_REASON_SESSION_NOT_FOUND},
		"newer":          {refusal(t, Domain, "OF_A_LATER_VERSION"), rtev1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		"another domain": {refusal(t, "example.com", "SESSION_NOT_FOUND"), rtev1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		"no details":     {status.Error(codes.Unavailable, "no connection"), rtev1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		"another error":  {errors.New("boom"), rtev1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		"none":           {nil, rtev1.ErrorReason_ERROR_REASON_UNSPECIFIED},
	} {
		if got := Reason(each.err); got != each.want {
			t.Errorf("%s: got %v, want %v", name, got, each.want)
		}
	}
}

// The metadata of an error names what caused it; of another error there is none, and asking for it does no harm.
func TestErrorInfo(t *testing.T) {
	if field := ErrorInfo(refusal(t, Domain, "SESSION_NOT_FOUND")).GetMetadata()["field"]; field != "visitor_id" {
		t.Errorf("got field %q", field)
	}
	if field := ErrorInfo(errors.New("boom")).GetMetadata()["field"]; field != "" {
		t.Errorf("got field %q", field)
	}
}
