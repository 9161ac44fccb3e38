// Package rte has what the generated code of the contract, package rtev1, does not make easy: why a call was refused.
package rte

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	rtev1 "github.com/rte-server/rte/clients/go/rte/v1"
)

// Domain is the domain of the ErrorInfo of every error that the server makes.
const Domain = "rte.v1"

// ErrorInfo returns what the server says of an error: its reason, and in its metadata the field, the value and the limit
// that caused it, each where it applies. It returns nil, whose getters return nothing, for nil and for errors that are
// not the server's, such as a connection that fails. A status in an answer, such as SessionResult.error, becomes an
// error by status.FromProto(s).Err().
func ErrorInfo(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info
		}
	}
	return nil
}

// Reason returns why the server refused a call. It returns ERROR_REASON_UNSPECIFIED for nil, for errors that are not the
// server's, and for reasons that are newer than this package: those are told apart by status.Code alone.
func Reason(err error) rtev1.ErrorReason {
	return rtev1.ErrorReason(rtev1.ErrorReason_value["ERROR_REASON_"+ErrorInfo(err).GetReason()])
}
