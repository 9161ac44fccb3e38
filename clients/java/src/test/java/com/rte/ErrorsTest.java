package com.rte;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import com.rte.v1.ErrorReason;
import io.grpc.protobuf.StatusProto;
import org.junit.jupiter.api.Test;

final class ErrorsTest {
  /** Returns a status as the server makes it, with details that do not count before the one that does. */
  private static Status refusal(String domain, String reason) {
    ErrorInfo info =
        ErrorInfo.newBuilder().setDomain(domain).setReason(reason).putMetadata("field", "visitor_id").build();
    Any damaged = Any.pack(info).toBuilder().setValue(ByteString.copyFromUtf8("\n\u0005x")).build();
    return Status.newBuilder()
        .setCode(io.grpc.Status.Code.NOT_FOUND.value())
        .addDetails(Any.pack(RetryInfo.getDefaultInstance()))
        .addDetails(damaged)
        .addDetails(Any.pack(info))
        .build();
  }

  /** An error of the server has its reason, wherever it is wrapped, and names the field that caused it. */
  @Test
  void errorsOfTheServerHaveReasons() {
    Status status = refusal(Errors.DOMAIN, "SESSION_NOT_FOUND");
    Exception thrown = StatusProto.toStatusRuntimeException(status);
    assertEquals(ErrorReason.ERROR_REASON_SESSION_NOT_FOUND, Errors.reason(status));
    assertEquals(ErrorReason.ERROR_REASON_SESSION_NOT_FOUND, Errors.reason(thrown));
    assertEquals(ErrorReason.ERROR_REASON_SESSION_NOT_FOUND, Errors.reason(new RuntimeException(thrown)));
    assertEquals("visitor_id", Errors.info(thrown).getMetadataOrThrow("field"));
  }

  /** Nothing else has one: other domains, later reasons, errors without details, errors of another kind. */
  @Test
  void nothingElseHasReasons() {
    for (Status status :
        new Status[] {
          refusal("example.com", "SESSION_NOT_FOUND"),
          refusal(Errors.DOMAIN, "OF_A_LATER_VERSION"),
          Status.getDefaultInstance()
        }) {
      assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, Errors.reason(status));
    }
    for (Exception error :
        new Exception[] {io.grpc.Status.UNAVAILABLE.asRuntimeException(), new IllegalStateException("boom")}) {
      assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, Errors.reason(error));
      assertEquals(ErrorInfo.getDefaultInstance(), Errors.info(error));
    }
  }
}
