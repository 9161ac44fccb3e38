package com.rte;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

final class StructsTest {
  /** A number of any type is the double that JSON would make of it, and stays it. */
  @Test
  void numbersAreDoubles() {
    Struct struct = Structs.of(Map.of("int", 2, "long", 3L, "float", 0.5f, "double", 9.9));
    assertEquals(Value.newBuilder().setNumberValue(2).build(), struct.getFieldsOrThrow("int"));
    assertEquals(Map.of("int", 2.0, "long", 3.0, "float", 0.5, "double", 9.9), Structs.plain(struct));
  }

  /** What goes in comes out: nothing, truth, text, lists and maps inside each other. */
  @Test
  void whatGoesInComesOut() {
    Map<String, Object> members = new HashMap<>();
    members.put("none", null);
    members.put("vip", true);
    members.put("text", "\u00e9");
    members.put("items", Arrays.asList(Map.of("item_id", "SKU-1"), null, List.of("a", false)));
    assertEquals(members, Structs.plain(Structs.of(members)));
    assertEquals(Map.of(), Structs.plain(Structs.of(Map.of())));
    assertEquals(Value.KindCase.NULL_VALUE, Structs.of(members).getFieldsOrThrow("none").getKindCase());
  }

  /** What JSON has no form for is refused. */
  @Test
  void othersAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> Structs.of(Map.of("a", new Object())));
    assertThrows(IllegalArgumentException.class, () -> Structs.of(Map.of("a", Map.of(1, "b"))));
  }
}
