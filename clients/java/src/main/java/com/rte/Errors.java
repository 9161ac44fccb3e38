package com.rte;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import com.rte.v1.ErrorReason;
import io.grpc.protobuf.StatusProto;

/** Says why a call was refused, which the generated code leaves inside the trailers of an exception. */
public final class Errors {
  /** The domain of the {@link ErrorInfo} of every error that the server makes. */
  public static final String DOMAIN = "rte.v1";

  private Errors() {}

  /**
   * Returns why the server refused a call.
   *
   * @param error what a stub has thrown, or an exception that it caused
   * @return the reason; {@link ErrorReason#ERROR_REASON_UNSPECIFIED} for errors that are not the server's, such as a
   *     connection that fails, and for reasons that are newer than this package. Those are told apart by {@link
   *     io.grpc.Status#fromThrowable} alone
   */
  public static ErrorReason reason(Throwable error) {
    return reason(info(error));
  }

  /**
   * Returns why there is no result, for a status inside an answer, such as {@code SessionResult.error}.
   *
   * @param status the status
   * @return the reason, as for an exception
   */
  public static ErrorReason reason(Status status) {
    return reason(info(status));
  }

  /**
   * Returns what the server says of an error: its reason, and in its metadata the {@code field}, the {@code value} and
   * the {@code limit} that caused it, each where it applies.
   *
   * @param error what a stub has thrown, or an exception that it caused
   * @return the details; empty ones for errors that are not the server's
   */
  public static ErrorInfo info(Throwable error) {
    Status status = StatusProto.fromThrowable(error);
    return status == null ? ErrorInfo.getDefaultInstance() : info(status);
  }

  /**
   * Returns what the server says of an error, for a status inside an answer.
   *
   * @param status the status
   * @return the details; empty ones where it has none
   */
  public static ErrorInfo info(Status status) {
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        try {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          if (info.getDomain().equals(DOMAIN)) {
            return info;
          }
        } catch (InvalidProtocolBufferException damaged) {
          // Not the server's; the next detail may be.
        }
      }
    }
    return ErrorInfo.getDefaultInstance();
  }

  private static ErrorReason reason(ErrorInfo info) {
    try {
      return ErrorReason.valueOf("ERROR_REASON_" + info.getReason());
    } catch (IllegalArgumentException unknown) {
      return ErrorReason.ERROR_REASON_UNSPECIFIED;
    }
  }
}
