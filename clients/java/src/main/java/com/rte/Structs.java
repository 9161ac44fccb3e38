package com.rte;

import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Makes properties of events from plain Java, and plain Java from attributes of sessions. */
public final class Structs {
  private Structs() {}

  /**
   * Returns a struct, such as the properties of an event or attributes to write.
   *
   * @param members by name: null, booleans, numbers (each becomes a double, as in JSON), strings, maps with names of
   *     these, and iterables of these
   * @return the struct
   * @throws IllegalArgumentException if a value is of another type
   */
  public static Struct of(Map<String, ?> members) {
    Struct.Builder struct = Struct.newBuilder();
    members.forEach((name, member) -> struct.putFields(name, value(member)));
    return struct.build();
  }

  /**
   * Returns what a struct holds, such as the attributes of a session.
   *
   * @param struct the struct
   * @return by name: null, Boolean, Double, String, unmodifiable maps and lists of these
   */
  public static Map<String, Object> plain(Struct struct) {
    Map<String, Object> members = new LinkedHashMap<>();
    struct.getFieldsMap().forEach((name, value) -> members.put(name, plain(value)));
    return Collections.unmodifiableMap(members);
  }

  private static Value value(Object plain) {
    Value.Builder value = Value.newBuilder();
    if (plain == null) {
      value.setNullValue(NullValue.NULL_VALUE);
    } else if (plain instanceof Boolean) {
      value.setBoolValue((Boolean) plain);
    } else if (plain instanceof Number) {
      value.setNumberValue(((Number) plain).doubleValue());
    } else if (plain instanceof CharSequence) {
      value.setStringValue(plain.toString());
    } else if (plain instanceof Map) {
      Struct.Builder struct = Struct.newBuilder();
      ((Map<?, ?>) plain).forEach((name, member) -> struct.putFields(name(name), value(member)));
      value.setStructValue(struct);
    } else if (plain instanceof Iterable) {
      ListValue.Builder list = ListValue.newBuilder();
      ((Iterable<?>) plain).forEach(element -> list.addValues(value(element)));
      value.setListValue(list);
    } else {
      throw new IllegalArgumentException("a value must not be a " + plain.getClass().getName());
    }
    return value.build();
  }

  private static String name(Object name) {
    if (name instanceof String) {
      return (String) name;
    }
    throw new IllegalArgumentException("a name must be a String, not " + name);
  }

  private static Object plain(Value value) {
    switch (value.getKindCase()) {
      case BOOL_VALUE:
        return value.getBoolValue();
      case NUMBER_VALUE:
        return value.getNumberValue();
      case STRING_VALUE:
        return value.getStringValue();
      case STRUCT_VALUE:
        return plain(value.getStructValue());
      case LIST_VALUE:
        List<Object> list = new ArrayList<>();
        value.getListValue().getValuesList().forEach(element -> list.add(plain(element)));
        return Collections.unmodifiableList(list);
      default:
        return null;
    }
  }
}
