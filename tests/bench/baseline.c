/* The C loop that the engine is measured against: the 22 attributes of W1, hard-coded, over the same wire bytes.
 *
 * What it does: reads IngestEventsRequest, finds or makes the visitor's row by a 64-bit hash, starts a new session
 * after a gap of more than 30 minutes, updates 22 attributes and computes a logistic score after each event.
 * What it leaves out, and the engine does: checks of limits, UTF-8 and nesting, keyed 128-bit keys, string bytes (it
 * keeps hashes only), late events and merges, configurable models, closed sessions, readers beside the writer. Events
 * must arrive in order of time. Deduplication by event id is optional (`dedup`), one global table of hashes.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GAP_MS 1800000
#define DISTINCT_MAX 64
#define RECENT_MAX 10
#define BLOCK_EVENTS 5000

enum { PAGE_VIEW, VIEW_ITEM, SEARCH, ADD_TO_CART, BEGIN_CHECKOUT, PURCHASE, OTHER, KINDS };

typedef struct {
    uint64_t visitor, event_id, url, item;
    int64_t time_ms;
    double price, quantity;
    int kind, has_price;
} event_t;

typedef struct {
    uint64_t visitor; /* 0 = free slot */
    int64_t first_ms, last_ms;
    int64_t events, kinds[KINDS], visit;
    uint64_t last_url, last_item;
    double price_sum, price_min, price_max, basket, score, views_per_minute, duration_s;
    int32_t funnel, distinct_count, recent_count, pad;
    uint64_t recent[RECENT_MAX];
    uint64_t distinct[DISTINCT_MAX];
} row_t;

typedef struct {
    row_t *rows;
    uint64_t *seen;
    uint64_t row_mask, seen_mask;
    int64_t sessions, duplicates;
    event_t *block;
} state_t;

static inline uint64_t mix(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash(const uint8_t *bytes, int64_t count) {
    uint64_t h = 0x9E3779B97F4A7C15ull ^ (uint64_t)count, word;
    while (count >= 8) {
        memcpy(&word, bytes, 8);
        h = mix(h ^ word, 0xD6E8FEB86659FD93ull);
        bytes += 8;
        count -= 8;
    }
    word = 0;
    memcpy(&word, bytes, (size_t)count);
    h = mix(h ^ word, 0xA0761D6478BD642Full);
    return h | 1;
}

static inline uint64_t varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    int shift = 0;
    while (*at < end) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value;
        shift += 7;
        if (shift > 63) break;
    }
    *at = end + 1; /* truncated: makes every caller stop */
    return 0;
}

static inline int skip(const uint8_t **at, const uint8_t *end, int wire) {
    if (wire == 0) varint(at, end);
    else if (wire == 1) *at += 8;
    else if (wire == 2) { uint64_t n = varint(at, end); *at = n <= (uint64_t)(end - *at) ? *at + n : end + 1; }
    else if (wire == 5) *at += 4;
    else return 0;
    return *at <= end;
}

static int kind_of(const uint8_t *name, int64_t count) {
    static const char *names[] = {"page_view", "view_item", "search", "add_to_cart", "begin_checkout", "purchase"};
    for (int i = 0; i < OTHER; i++)
        if ((int64_t)strlen(names[i]) == count && memcmp(names[i], name, (size_t)count) == 0) return i;
    return OTHER;
}

static int property(const uint8_t *at, const uint8_t *end, event_t *event) {
    const uint8_t *key = 0, *text = 0;
    int64_t key_count = 0, text_count = 0;
    double number = 0;
    int has_number = 0;
    while (at < end) {
        uint64_t tag = varint(&at, end);
        if (tag != 10 && tag != 18) { if (!skip(&at, end, (int)(tag & 7))) return 0; continue; }
        uint64_t n = varint(&at, end);
        if (at > end || n > (uint64_t)(end - at)) return 0;
        if (tag == 10) { key = at; key_count = (int64_t)n; at += n; continue; }
        const uint8_t *stop = at + n;
        while (at < stop) {
            uint64_t inner = varint(&at, stop);
            if (inner == 17 && stop - at >= 8) { memcpy(&number, at, 8); has_number = 1; at += 8; }
            else if (inner == 26) {
                uint64_t m = varint(&at, stop);
                if (at > stop || m > (uint64_t)(stop - at)) return 0;
                text = at; text_count = (int64_t)m; at += m;
            } else if (!skip(&at, stop, (int)(inner & 7))) return 0;
        }
    }
    if (has_number && key_count == 5 && memcmp(key, "price", 5) == 0) { event->price = number; event->has_price = 1; }
    else if (has_number && key_count == 8 && memcmp(key, "quantity", 8) == 0) event->quantity = number;
    else if (text && key_count == 7 && memcmp(key, "item_id", 7) == 0) event->item = hash(text, text_count);
    else if (text && key_count == 13 && memcmp(key, "page_location", 13) == 0) event->url = hash(text, text_count);
    return 1;
}

static int decode(const uint8_t *at, const uint8_t *end, event_t *event) {
    memset(event, 0, sizeof *event);
    event->kind = OTHER;
    event->quantity = 1;
    while (at < end) {
        uint64_t tag = varint(&at, end);
        if ((tag & 7) != 2) { if (!skip(&at, end, (int)(tag & 7))) return 0; continue; }
        uint64_t n = varint(&at, end);
        if (at > end || n > (uint64_t)(end - at)) return 0;
        const uint8_t *stop = at + n;
        switch (tag >> 3) {
        case 1: event->event_id = hash(at, (int64_t)n); break;
        case 2: event->kind = kind_of(at, (int64_t)n); break;
        case 3: {
            int64_t seconds = 0, nanos = 0;
            while (at < stop) {
                uint64_t inner = varint(&at, stop), value = varint(&at, stop);
                if (inner == 8) seconds = (int64_t)value; else if (inner == 16) nanos = (int64_t)value;
            }
            event->time_ms = seconds * 1000 + nanos / 1000000;
            break;
        }
        case 4: event->visitor = hash(at, (int64_t)n); break;
        case 8:
            while (at < stop) {
                uint64_t inner = varint(&at, stop), m = varint(&at, stop);
                if (inner != 10 || at > stop || m > (uint64_t)(stop - at)) return 0;
                if (!property(at, at + m, event)) return 0;
                at += m;
            }
            break;
        }
        at = stop;
    }
    return at == end;
}

static inline row_t *row_of(state_t *state, uint64_t visitor) {
    uint64_t slot = visitor >> 7 & state->row_mask;
    while (state->rows[slot].visitor && state->rows[slot].visitor != visitor) slot = (slot + 1) & state->row_mask;
    return &state->rows[slot];
}

static int duplicate(state_t *state, const event_t *event) {
    uint64_t id = mix(event->event_id ^ event->visitor, 0xE7037ED1A0B428DBull) | 1, slot = id >> 7 & state->seen_mask;
    while (state->seen[slot]) {
        if (state->seen[slot] == id) return 1;
        slot = (slot + 1) & state->seen_mask;
    }
    state->seen[slot] = id;
    return 0;
}

static void items(row_t *row, uint64_t item) {
    uint64_t slot = item >> 9;
    if (row->distinct_count < DISTINCT_MAX) {
        for (;; slot++) {
            uint64_t *cell = &row->distinct[slot & (DISTINCT_MAX - 1)];
            if (*cell == item) break;
            if (!*cell) { *cell = item; row->distinct_count++; break; }
        }
    }
    int at = 0;
    while (at < row->recent_count && row->recent[at] != item) at++;
    if (at == row->recent_count && row->recent_count < RECENT_MAX) row->recent_count++;
    if (at == RECENT_MAX) at--;
    memmove(row->recent + 1, row->recent, (size_t)at * 8);
    row->recent[0] = item;
    row->last_item = item;
}

static void score(row_t *row) {
    static const double weights[12] = {0.01, 0.05, 0.02, 0.6, 0.9, -1.5, 0.002, 0.001, 0.003, 0.04, -0.02, 0.1};
    const double features[12] = {
        (double)row->kinds[PAGE_VIEW], (double)row->kinds[VIEW_ITEM], (double)row->kinds[SEARCH],
        (double)row->kinds[ADD_TO_CART], (double)row->kinds[BEGIN_CHECKOUT], (double)row->kinds[PURCHASE],
        row->duration_s / 60, row->price_max, row->basket, (double)row->distinct_count, row->views_per_minute,
        (double)row->visit};
    double sum = -3;
    for (int i = 0; i < 12; i++) sum += weights[i] * features[i];
    row->score = 1 / (1 + exp(-sum));
}

static void fold(state_t *state, const event_t *event) {
    if (state->seen && duplicate(state, event)) { state->duplicates++; return; }
    row_t *row = row_of(state, event->visitor);
    if (!row->visitor || event->time_ms - row->last_ms > GAP_MS) {
        int64_t visit = row->visit;
        memset(row, 0, sizeof *row);
        row->visitor = event->visitor;
        row->visit = visit + 1;
        row->first_ms = event->time_ms;
        row->price_min = INFINITY;
        row->price_max = -INFINITY;
        state->sessions++;
    }
    row->last_ms = event->time_ms;
    row->duration_s = (double)(row->last_ms - row->first_ms) / 1000;
    row->events++;
    row->kinds[event->kind]++;
    if (event->url) row->last_url = event->url;
    if (event->has_price) {
        row->price_sum += event->price;
        if (event->price < row->price_min) row->price_min = event->price;
        if (event->price > row->price_max) row->price_max = event->price;
    }
    if (event->kind == ADD_TO_CART) row->basket += event->price * event->quantity;
    if (event->kind == PURCHASE) row->basket = 0;
    if (event->kind < OTHER && event->kind > row->funnel) row->funnel = event->kind;
    if (event->item) items(row, event->item);
    row->views_per_minute = (double)row->kinds[PAGE_VIEW] / (row->duration_s / 60 + 1);
    score(row);
}

/* Returns a new state for 2^row_bits visitors, or NULL. With `dedup`, event ids are remembered in 2^22 slots. All
 * pages are touched here, so that the clock does not see the first use of memory. */
state_t *w1_new(int row_bits, int dedup) {
    state_t *state = calloc(1, sizeof *state);
    state->row_mask = (1ull << row_bits) - 1;
    state->rows = malloc((size_t)(state->row_mask + 1) * sizeof(row_t));
    memset(state->rows, 0, (size_t)(state->row_mask + 1) * sizeof(row_t));
    if (dedup) {
        state->seen_mask = (1ull << 22) - 1;
        state->seen = malloc((size_t)(state->seen_mask + 1) * 8);
        memset(state->seen, 0, (size_t)(state->seen_mask + 1) * 8);
    }
    state->block = malloc(BLOCK_EVENTS * sizeof(event_t));
    memset(state->block, 0, BLOCK_EVENTS * sizeof(event_t));
    return state;
}

void w1_free(state_t *state) {
    free(state->rows);
    free(state->seen);
    free(state->block);
    free(state);
}

/* Folds a request event by event. Returns its events, or -1 if the bytes are no request. */
int64_t w1_fold(state_t *state, const uint8_t *at, int64_t count) {
    const uint8_t *end = at + count;
    int64_t events = 0;
    event_t event;
    while (at < end) {
        uint64_t tag = varint(&at, end);
        if (tag != 18) { if (!skip(&at, end, (int)(tag & 7))) return -1; continue; }
        uint64_t n = varint(&at, end);
        if (at > end || n > (uint64_t)(end - at) || !decode(at, at + n, &event)) return -1;
        at += n;
        fold(state, &event);
        events++;
    }
    return events;
}

/* Folds a request in three passes: decode all, ask for all rows, fold all. Returns as w1_fold. */
int64_t w1_fold_prefetch(state_t *state, const uint8_t *at, int64_t count) {
    const uint8_t *end = at + count;
    int64_t events = 0;
    while (at < end && events < BLOCK_EVENTS) {
        uint64_t tag = varint(&at, end);
        if (tag != 18) { if (!skip(&at, end, (int)(tag & 7))) return -1; continue; }
        uint64_t n = varint(&at, end);
        if (at > end || n > (uint64_t)(end - at) || !decode(at, at + n, &state->block[events])) return -1;
        at += n;
        events++;
    }
    for (int64_t i = 0; i < events; i++) {
        if (i + 8 < events) {
            const char *row = (const char *)&state->rows[state->block[i + 8].visitor >> 7 & state->row_mask];
            for (size_t line = 0; line < sizeof(row_t); line += 64) __builtin_prefetch(row + line, 1);
        }
        fold(state, &state->block[i]);
    }
    return events;
}

/* Walks over the events without looking inside. Returns their number, or -1. */
int64_t w1_walk(const uint8_t *at, int64_t count) {
    const uint8_t *end = at + count;
    int64_t events = 0;
    while (at < end) {
        uint64_t tag = varint(&at, end);
        if (!skip(&at, end, (int)(tag & 7))) return -1;
        events += tag == 18;
    }
    return events;
}

/* Writes the checksum: sessions, duplicates, then sums over the newest sessions of all visitors: events, page views,
 * item views, cart adds, purchases, prices (quarters: exact), distinct items, recent items. */
void w1_checksum(const state_t *state, double out[10]) {
    memset(out, 0, 10 * sizeof(double));
    out[0] = (double)state->sessions;
    out[1] = (double)state->duplicates;
    for (uint64_t i = 0; i <= state->row_mask; i++) {
        const row_t *row = &state->rows[i];
        if (!row->visitor) continue;
        out[2] += (double)row->events;
        out[3] += (double)row->kinds[PAGE_VIEW];
        out[4] += (double)row->kinds[VIEW_ITEM];
        out[5] += (double)row->kinds[ADD_TO_CART];
        out[6] += (double)row->kinds[PURCHASE];
        out[7] += row->price_sum;
        out[8] += (double)row->distinct_count;
        out[9] += (double)row->recent_count;
    }
}
