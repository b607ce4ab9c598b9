/* A stand-in for the exchange that costs next to nothing, for measuring what stands in front of it.
 *
 *     stub_exchange FOLDER
 *
 * One thread, one epoll, loopback only. It prints its port, then serves REST and the WebSocket API.
 * FOLDER holds "symbols" (lines "SYMBOL PRICE") and "bodies" (lines "METHOD PATH FILE"): replies that
 * never change. What does change is made here: time, orders, positions and fills. Signatures are not
 * looked at. Every order is filled at once, at its symbol's one price, and stamped on arrival with
 * CLOCK_MONOTONIC; /bench/stamps tells the stamps, /bench/count how many; /bench/hold sets a position, /bench/flat ends them all. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { SYMBOLS_MAX = 4096, BODIES_MAX = 8192, FDS_MAX = 4096, TEXT = 48, FIELD = 96 };
enum { UNIT = 100000000, TRADES_MAX = 1000 };

typedef struct { char *at; size_t length, room; } Buffer;
typedef struct { char name[TEXT], price[TEXT]; int64_t amount, updated_ms; int newest_order; } Symbol;
typedef struct { char method[8], path[160]; char *reply; size_t length; } Body;
typedef struct {
  char client_id[TEXT], quantity[TEXT];
  int symbol, previous, reduce_only;
  char side, position_side;
  int64_t at_ms, at_ns;
} Order;
typedef struct { Buffer in, out; int is_open, is_websocket, is_user, is_market; } Connection;

static Symbol symbols[SYMBOLS_MAX];
static int symbol_count, symbol_slots[SYMBOLS_MAX * 4];
static Body bodies[BODIES_MAX];
static int body_count, body_slots[BODIES_MAX * 4];
static Order *orders;
static int order_count, order_room, *order_slots, order_slot_count;
static Connection connections[FDS_MAX];
static int poller;

static void fail(const char *what) { perror(what); exit(1); }

static int64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ms(void) { return clock_ns(CLOCK_REALTIME) / 1000000; }

static void reserve(Buffer *buffer, size_t more) {
  if (buffer->length + more <= buffer->room) return;
  while (buffer->room < buffer->length + more) buffer->room = buffer->room ? buffer->room * 2 : 4096;
  if (!(buffer->at = realloc(buffer->at, buffer->room))) fail("realloc");
}

static void append(Buffer *buffer, const void *bytes, size_t length) {
  reserve(buffer, length);
  memcpy(buffer->at + buffer->length, bytes, length);
  buffer->length += length;
}

__attribute__((format(printf, 2, 3))) static void print(Buffer *buffer, const char *format, ...) {
  va_list values;
  reserve(buffer, 4096);
  va_start(values, format);
  buffer->length += vsnprintf(buffer->at + buffer->length, 4096, format, values);
  va_end(values);
}

static uint32_t hash_of(const char *text) {
  uint32_t hash = 2166136261u;
  while (*text) hash = (hash ^ (uint8_t)*text++) * 16777619u;
  return hash;
}

/* ---- decimals with eight places */

static int64_t units(const char *text) {
  int64_t value = 0, sign = 1, places = -1;
  if (*text == '-') { sign = -1; text++; }
  for (; *text; text++) {
    if (*text == '.') { places = 0; continue; }
    if (*text < '0' || *text > '9' || places == 8) break;
    value = value * 10 + (*text - '0');
    if (places >= 0) places++;
  }
  for (places = places < 0 ? 0 : places; places < 8; places++) value *= 10;
  return sign * value;
}

static const char *plain(int64_t value, char *text) {
  uint64_t size = value < 0 ? (uint64_t)-value : (uint64_t)value;
  int length = sprintf(text, "%s%llu.%08llu", value < 0 ? "-" : "", (unsigned long long)(size / UNIT),
                       (unsigned long long)(size % UNIT));
  while (text[length - 1] == '0') text[--length] = 0;
  if (text[length - 1] == '.') text[--length] = 0;
  return text;
}

/* ---- what is known */

static Symbol *symbol_named(const char *name) {
  for (uint32_t at = hash_of(name);; at++) {
    int slot = symbol_slots[at % (SYMBOLS_MAX * 4)];
    if (!slot) return NULL;
    if (!strcmp(symbols[slot - 1].name, name)) return &symbols[slot - 1];
  }
}

static Body *body_named(const char *method, const char *path) {
  for (uint32_t at = hash_of(path);; at++) {
    int slot = body_slots[at % (BODIES_MAX * 4)];
    if (!slot) return NULL;
    Body *body = &bodies[slot - 1];
    if (!strcmp(body->path, path) && !strcmp(body->method, method)) return body;
  }
}

static void take_slot(int *slots, uint32_t count, const char *name, int value) {
  uint32_t at = hash_of(name);
  while (slots[at % count]) at++;
  slots[at % count] = value;
}

static Order *order_with_client_id(const char *client_id) {
  if (!order_slot_count) return NULL;
  for (uint32_t at = hash_of(client_id);; at++) {
    int slot = order_slots[at % (uint32_t)order_slot_count];
    if (!slot) return NULL;
    if (!strcmp(orders[slot - 1].client_id, client_id)) return &orders[slot - 1];
  }
}

static Order *new_order(void) {
  if (order_count == order_room) {
    order_room = order_room ? order_room * 2 : 4096;
    orders = realloc(orders, (size_t)order_room * sizeof *orders);
    free(order_slots);
    order_slot_count = order_room * 2;
    order_slots = calloc((size_t)order_slot_count, sizeof *order_slots);
    if (!orders || !order_slots) fail("orders");
    for (int i = 0; i < order_count; i++)
      take_slot(order_slots, (uint32_t)order_slot_count, orders[i].client_id, i + 1);
  }
  return &orders[order_count];
}

/* ---- replies */

static void head(Buffer *out, const char *status, size_t length) {
  print(out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, length);
}

static void respond(Buffer *out, const char *status, const Buffer *body) {
  head(out, status, body->length);
  append(out, body->at, body->length);
}

static void print_order(Buffer *body, const Order *order, int is_query) {
  const Symbol *symbol = &symbols[order->symbol];
  const char *position_side = order->position_side == 'L' ? "LONG" : order->position_side == 'S' ? "SHORT" : "BOTH";
  print(body, "{\"orderId\":%d,\"symbol\":\"%s\",\"status\":\"FILLED\",\"clientOrderId\":\"%s\",\"price\":\"0\",",
        (int)(order - orders) + 1, symbol->name, order->client_id);
  print(body, "\"origQty\":\"%s\",\"executedQty\":\"%s\",", order->quantity, order->quantity);
  if (is_query) {
    char quote[TEXT];
    double spent = (double)units(order->quantity) / UNIT * strtod(symbol->price, NULL);
    snprintf(quote, sizeof quote, "%.8f", spent);
    print(body, "\"avgPrice\":\"%s\",\"cumQuote\":\"%s\",\"time\":%lld,", symbol->price, quote, (long long)order->at_ms);
  } else {
    print(body, "\"cumQty\":\"%s\",", order->quantity);
  }
  print(body, "\"timeInForce\":\"GTC\",\"type\":\"MARKET\",\"reduceOnly\":%s,\"closePosition\":false,",
        order->reduce_only ? "true" : "false");
  print(body, "\"side\":\"%s\",\"positionSide\":\"%s\",\"stopPrice\":\"0\",\"workingType\":\"CONTRACT_PRICE\",",
        order->side == 'B' ? "BUY" : "SELL", position_side);
  print(body, "\"priceProtect\":false,\"origType\":\"MARKET\",\"priceMatch\":\"NONE\",");
  print(body, "\"selfTradePreventionMode\":\"EXPIRE_MAKER\",\"goodTillDate\":0,\"updateTime\":%lld}",
        (long long)order->at_ms);
}

static void print_positions(Buffer *body) {
  char amount[TEXT];
  append(body, "[", 1);
  for (int i = 0; i < symbol_count; i++) {
    const Symbol *held = &symbols[i];
    if (!held->amount) continue;
    if (body->length > 1) append(body, ",", 1);
    print(body, "{\"symbol\":\"%s\",\"positionSide\":\"BOTH\",\"positionAmt\":\"%s\",\"entryPrice\":\"%s\",",
          held->name, plain(held->amount, amount), held->price);
    print(body, "\"breakEvenPrice\":\"%s\",\"markPrice\":\"%s\",\"unRealizedProfit\":\"0\",", held->price, held->price);
    print(body, "\"liquidationPrice\":\"0\",\"isolatedMargin\":\"0\",\"notional\":\"%.8f\",",
          (double)held->amount / UNIT * strtod(held->price, NULL));
    print(body, "\"marginAsset\":\"USDT\",\"isolatedWallet\":\"0\",\"initialMargin\":\"0\",\"maintMargin\":\"0\",");
    print(body, "\"positionInitialMargin\":\"0\",\"openOrderInitialMargin\":\"0\",\"adl\":1,\"bidNotional\":\"0\",");
    print(body, "\"askNotional\":\"0\",\"updateTime\":%lld}", (long long)held->updated_ms);
  }
  append(body, "]", 1);
}

/* ---- parameters: a form or query, or the JSON of the WebSocket API */

typedef struct { const char *text; int is_json; } Params;

static int form_value(const char *text, const char *name, char *value) {
  size_t length = strlen(name);
  for (const char *at = text; at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL) {
    if (strncmp(at, name, length) || at[length] != '=') continue;
    const char *from = at + length + 1;
    size_t count = strcspn(from, "& ");
    if (count >= FIELD) return 0;
    memcpy(value, from, count);
    value[count] = 0;
    return 1;
  }
  return 0;
}

static int json_value(const char *text, const char *name, char *value) {
  char quoted[TEXT];
  size_t length = (size_t)snprintf(quoted, sizeof quoted, "\"%s\"", name);
  for (const char *at = strstr(text, quoted); at; at = strstr(at + 1, quoted)) {
    const char *from = at + length;
    from += strspn(from, " ");
    if (*from++ != ':') continue;
    from += strspn(from, " ");
    int is_text = *from == '"';
    from += is_text;
    size_t count = strcspn(from, is_text ? "\"" : ",} ");
    if (count >= FIELD) return 0;
    memcpy(value, from, count);
    value[count] = 0;
    return 1 + is_text;
  }
  return 0;
}

static const char *param(Params params, const char *name, char *value) {
  value[0] = 0;
  if (params.is_json) json_value(params.text, name, value);
  else form_value(params.text, name, value);
  return value;
}

/* ---- orders */

static void send_text(Connection *to, const char *text, size_t length);
static void flush(int fd);

static void tell_users(const Order *order) {
  static Buffer frame;
  const Symbol *symbol = &symbols[order->symbol];
  char amount[TEXT];
  int told = 0;
  for (int fd = 0; fd < FDS_MAX; fd++) {
    Connection *user = &connections[fd];
    if (!user->is_open || !user->is_user) continue;
    if (!told++) {
      long long ms = order->at_ms;
      int id = (int)(order - orders) + 1;
      frame.length = 0;
      print(&frame, "{\"e\":\"ACCOUNT_UPDATE\",\"T\":%lld,\"E\":%lld,\"a\":{\"B\":[{\"a\":\"USDT\",\"wb\":\"1000000000\",", ms, ms);
      print(&frame, "\"cw\":\"1000000000\",\"bc\":\"0\"}],\"P\":[{\"s\":\"%s\",\"pa\":\"%s\",\"ep\":\"%s\",\"bep\":\"%s\",",
            symbol->name, plain(symbol->amount, amount), symbol->amount ? symbol->price : "0", symbol->amount ? symbol->price : "0");
      print(&frame, "\"cr\":\"0\",\"up\":\"0\",\"mt\":\"cross\",\"iw\":\"0\",\"ps\":\"BOTH\",\"ma\":\"USDT\"}],\"m\":\"ORDER\"}}");
      size_t second = frame.length;
      print(&frame, "{\"e\":\"ORDER_TRADE_UPDATE\",\"T\":%lld,\"E\":%lld,\"o\":{\"s\":\"%s\",\"c\":\"%s\",\"S\":\"%s\",", ms, ms,
            symbol->name, order->client_id, order->side == 'B' ? "BUY" : "SELL");
      print(&frame, "\"o\":\"MARKET\",\"f\":\"GTC\",\"q\":\"%s\",\"p\":\"0\",\"ap\":\"%s\",\"sp\":\"0\",\"x\":\"TRADE\",\"X\":\"FILLED\",",
            order->quantity, symbol->price);
      print(&frame, "\"i\":%d,\"l\":\"%s\",\"z\":\"%s\",\"L\":\"%s\",\"n\":\"0\",\"N\":\"USDT\",\"T\":%lld,\"t\":%d,", id,
            order->quantity, order->quantity, symbol->price, ms, id);
      print(&frame, "\"b\":\"0\",\"a\":\"0\",\"m\":false,\"R\":%s,\"wt\":\"CONTRACT_PRICE\",\"ot\":\"MARKET\",\"ps\":\"BOTH\",",
            order->reduce_only ? "true" : "false");
      print(&frame, "\"cp\":false,\"rp\":\"0\",\"pP\":false,\"si\":0,\"ss\":0,\"V\":\"EXPIRE_MAKER\",\"pm\":\"NONE\",\"gtd\":0}}");
      told = (int)second;
    }
    send_text(user, frame.at, (size_t)told);
    send_text(user, frame.at + told, frame.length - (size_t)told);
    flush(fd);
  }
}

/* Returns NULL, or the error's JSON object. */
static const char *place(Params params, int64_t at_ns, Order **placed) {
  char name[FIELD], side[FIELD], quantity[FIELD], client_id[FIELD], position_side[FIELD], reduce_only[FIELD];
  Symbol *symbol = symbol_named(param(params, "symbol", name));
  if (!symbol) return "{\"code\":-1121,\"msg\":\"Invalid symbol.\"}";
  int is_buy = !strcmp(param(params, "side", side), "BUY");
  int reduces = !strcasecmp(param(params, "reduceOnly", reduce_only), "true");
  int64_t asked = units(param(params, "quantity", quantity)), sign = is_buy ? 1 : -1;
  if (asked <= 0) return "{\"code\":-4003,\"msg\":\"Quantity less than or equal to zero.\"}";
  if (reduces) {
    int64_t left = -sign * symbol->amount;
    if (left <= 0) return "{\"code\":-2022,\"msg\":\"ReduceOnly Order is rejected.\"}";
    if (asked > left) asked = left;
  }
  Order *order = new_order();
  param(params, "newClientOrderId", client_id);
  snprintf(order->client_id, TEXT, "%s", client_id);
  if (!*client_id) snprintf(order->client_id, TEXT, "unnamed-%d", order_count);
  order->symbol = (int)(symbol - symbols);
  order->side = is_buy ? 'B' : 'S';
  order->position_side = param(params, "positionSide", position_side)[0];
  order->reduce_only = reduces;
  order->at_ns = at_ns;
  order->at_ms = now_ms();
  order->previous = symbol->newest_order;
  plain(asked, order->quantity);
  take_slot(order_slots, (uint32_t)order_slot_count, order->client_id, order_count + 1);
  symbol->newest_order = order_count++;
  symbol->amount += sign * asked;
  symbol->updated_ms = order->at_ms;
  *placed = order;
  return NULL;
}

static void print_trades(Buffer *body, Params params) {
  char value[FIELD];
  const Symbol *symbol = symbol_named(param(params, "symbol", value));
  int64_t since_ms = strtoll(param(params, "startTime", value), NULL, 10);
  int from = atoi(param(params, "fromId", value)), limit = atoi(param(params, "limit", value));
  if (limit <= 0 || limit > TRADES_MAX) limit = 500;
  int found[TRADES_MAX], count = 0;
  for (int i = symbol ? symbol->newest_order : -1; i >= 0 && orders[i].at_ms >= since_ms && i + 1 >= from;
       i = orders[i].previous)
    found[count++ % limit] = i; /* keeps the oldest of them */
  append(body, "[", 1);
  for (int k = count; k > 0 && k > count - limit; k--) {
    const Order *order = &orders[found[(k - 1) % limit]];
    int id = (int)(order - orders) + 1;
    if (body->length > 1) append(body, ",", 1);
    print(body, "{\"symbol\":\"%s\",\"id\":%d,\"orderId\":%d,\"side\":\"%s\",\"price\":\"%s\",\"qty\":\"%s\",", symbol->name,
          id, id, order->side == 'B' ? "BUY" : "SELL", symbol->price, order->quantity);
    print(body, "\"realizedPnl\":\"0\",\"quoteQty\":\"0\",\"commission\":\"0\",\"commissionAsset\":\"USDT\",");
    print(body, "\"time\":%lld,\"positionSide\":\"BOTH\",\"buyer\":%s,\"maker\":false}", (long long)order->at_ms,
          order->side == 'B' ? "true" : "false");
  }
  append(body, "]", 1);
}

static void print_stamps(Buffer *body, Params params) {
  char value[FIELD];
  for (int i = atoi(param(params, "from", value)); i < order_count; i++)
    print(body, "%s %lld\n", orders[i].client_id, (long long)orders[i].at_ns);
}

static void hold(Params params) {
  char name[FIELD], amount[FIELD];
  Symbol *symbol = symbol_named(param(params, "symbol", name));
  if (!symbol) return;
  symbol->amount = units(param(params, "amount", amount));
  symbol->updated_ms = now_ms();
}

static void serve(Connection *connection, const char *method, char *path, char *query, const char *form, int64_t at_ns) {
  static Buffer body;
  char value[FIELD], named[FIELD + 200];
  Params params = {*form ? form : query, 0};
  const char *status = "200 OK", *refusal = NULL;
  int is_get = !strcmp(method, "GET");
  Order *order = NULL;
  body.length = 0;
  if (!strcmp(path, "/fapi/v1/order")) {
    if (is_get) order = order_with_client_id(param(params, "origClientOrderId", value));
    else refusal = place(params, at_ns, &order);
    if (is_get && !order) {
      int id = atoi(param(params, "orderId", value));
      if (id > 0 && id <= order_count) order = &orders[id - 1];
      else refusal = "{\"code\":-2013,\"msg\":\"Order does not exist.\"}";
    }
    if (refusal) { status = "400 Bad Request"; print(&body, "%s", refusal); }
    else print_order(&body, order, is_get);
  } else if (!strcmp(path, "/fapi/v1/time")) {
    print(&body, "{\"serverTime\":%lld}", (long long)now_ms());
  } else if (!strcmp(path, "/fapi/v3/positionRisk") || !strcmp(path, "/fapi/v2/positionRisk")) {
    print_positions(&body);
  } else if (!strcmp(path, "/fapi/v1/userTrades")) {
    print_trades(&body, params);
  } else if (!strcmp(path, "/fapi/v1/leverage")) {
    char symbol[FIELD];
    print(&body, "{\"symbol\":\"%s\",\"leverage\":%s,\"maxNotionalValue\":\"1000000\"}",
          param(params, "symbol", symbol), param(params, "leverage", value));
  } else if (!strcmp(path, "/bench/stamps")) {
    print_stamps(&body, params);
  } else if (!strcmp(path, "/bench/count")) {
    print(&body, "%d", order_count);
  } else if (!strcmp(path, "/bench/flat")) {
    for (int i = 0; i < symbol_count; i++) symbols[i].amount = 0;
  } else if (!strcmp(path, "/bench/hold")) {
    hold(params);
  } else {
    param(params, "symbol", value);
    snprintf(named, sizeof named, "%s%s%s", path, *value ? "?symbol=" : "", value);
    Body *known = body_named(method, named);
    if (!known) known = body_named(method, path);
    if (known) { append(&connection->out, known->reply, known->length); return; }
    status = "404 Not Found";
    print(&body, "{\"code\":-1000,\"msg\":\"not served here\"}");
  }
  respond(&connection->out, status, &body);
  if (order && !is_get) tell_users(order);
}

/* ---- WebSocket: handshake (RFC 6455 4.2.2) and frames */

static uint32_t rotate(uint32_t value, int by) { return value << by | value >> (32 - by); }

static void sha1_block(uint32_t *state, const uint8_t *block) {
  uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)block[i * 4] << 24 | (uint32_t)block[i * 4 + 1] << 16 | (uint32_t)block[i * 4 + 2] << 8 | block[i * 4 + 3];
  for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  for (int i = 0; i < 80; i++) {
    uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
    uint32_t next = rotate(a, 5) + f + e + k + w[i];
    e = d; d = c; c = rotate(b, 30); b = a; a = next;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e;
}

static void accept_key(const char *key, char *accepted) {
  static const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  uint8_t message[128] = {0}, digest[21] = {0};
  size_t length = (size_t)snprintf((char *)message, 100, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  message[length] = 0x80;
  message[126] = (uint8_t)(length * 8 >> 8);
  message[127] = (uint8_t)(length * 8);
  sha1_block(state, message);
  sha1_block(state, message + 64);
  for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - i % 4 * 8));
  for (int i = 0; i < 7; i++) {
    uint32_t three = (uint32_t)digest[i * 3] << 16 | (uint32_t)digest[i * 3 + 1] << 8 | digest[i * 3 + 2];
    for (int j = 0; j < 4; j++) accepted[i * 4 + j] = alphabet[three >> (18 - j * 6) & 63];
  }
  strcpy(accepted + 27, "=");
}

static void send_frame(Connection *to, int opcode, const char *bytes, size_t length) {
  uint8_t start[10] = {(uint8_t)(0x80 | opcode)};
  size_t count = 2;
  if (length < 126) {
    start[1] = (uint8_t)length;
  } else if (length < 65536) {
    start[1] = 126; start[2] = (uint8_t)(length >> 8); start[3] = (uint8_t)length; count = 4;
  } else {
    start[1] = 127;
    for (int i = 0; i < 8; i++) start[2 + i] = (uint8_t)((uint64_t)length >> (56 - i * 8));
    count = 10;
  }
  append(&to->out, start, count);
  append(&to->out, bytes, length);
}

static void send_text(Connection *to, const char *text, size_t length) { send_frame(to, 1, text, length); }

static void answer_stream(Connection *connection, const char *text) {
  char id[FIELD], reply[FIELD * 2];
  int kind = json_value(text, "id", id);
  if (!kind) return;
  if (strstr(text, "markPrice")) connection->is_market = 1;
  const char *quote = kind == 2 ? "\"" : "";
  int length = snprintf(reply, sizeof reply, "{\"result\":null,\"id\":%s%s%s}", quote, id, quote);
  send_text(connection, reply, (size_t)length);
}

static void answer_api(Connection *connection, const char *text, int64_t at_ns) {
  static Buffer body;
  char method[FIELD], id[FIELD], value[FIELD];
  Params params = {text, 1};
  const char *refusal = NULL;
  Order *order = NULL;
  int is_place = !strcmp(param(params, "method", method), "order.place"), is_status = !strcmp(method, "order.status");
  const char *quote = json_value(text, "id", id) == 2 ? "\"" : "";
  body.length = 0;
  if (is_place) refusal = place(params, at_ns, &order);
  if (is_status && !(order = order_with_client_id(param(params, "origClientOrderId", value))))
    refusal = "{\"code\":-2013,\"msg\":\"Order does not exist.\"}";
  print(&body, "{\"id\":%s%s%s,\"status\":%d,", quote, id, quote, refusal ? 400 : 200);
  if (refusal) print(&body, "\"error\":%s}", refusal);
  else {
    print(&body, "\"result\":");
    if (order) print_order(&body, order, is_status);
    else if (!strncmp(method, "session.", 8))
      print(&body, "{\"apiKey\":\"%s\",\"authorizedSince\":%lld,\"connectedSince\":%lld,\"returnRateLimits\":false,\"serverTime\":%lld}",
            param(params, "apiKey", value), (long long)now_ms(), (long long)now_ms(), (long long)now_ms());
    else print(&body, "{}");
    print(&body, ",\"rateLimits\":[]}");
  }
  send_text(connection, body.at, body.length);
  if (is_place && order) tell_users(order);
}

/* Consumes whole frames; returns 0 when the peer closes. */
static int take_frames(Connection *connection, int64_t at_ns) {
  size_t used = 0;
  for (;;) {
    uint8_t *at = (uint8_t *)connection->in.at + used;
    size_t left = connection->in.length - used, start = 2;
    if (left < 2) break;
    uint64_t length = at[1] & 127;
    if (length == 126) start = 4;
    if (length == 127) start = 10;
    if (left < start + 4) break;
    if (start > 2) {
      length = 0;
      for (size_t i = 2; i < start; i++) length = length << 8 | at[i];
    }
    if (left < start + 4 + length) break;
    uint8_t *mask = at + start, *payload = mask + 4;
    for (uint64_t i = 0; i < length; i++) payload[i] ^= mask[i % 4];
    used += start + 4 + length;
    int opcode = at[0] & 15;
    if (opcode == 8) return 0;
    if (opcode == 9) send_frame(connection, 10, (char *)payload, length);
    if (opcode != 1 && opcode != 2) continue;
    uint8_t kept = payload[length];
    payload[length] = 0;
    if (connection->is_websocket == 2) answer_api(connection, (char *)payload, at_ns);
    else answer_stream(connection, (char *)payload);
    payload[length] = kept;
  }
  memmove(connection->in.at, connection->in.at + used, connection->in.length - used);
  connection->in.length -= used;
  return 1;
}

static void shake_hands(Connection *connection, const char *key, const char *path, const char *query) {
  char trimmed[FIELD], accepted[32];
  snprintf(trimmed, sizeof trimmed, "%.*s", (int)strcspn(key, "\r\n"), key);
  accept_key(trimmed, accepted);
  print(&connection->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n", accepted);
  connection->is_websocket = strstr(path, "ws-fapi") ? 2 : 1;
  connection->is_user = strstr(path, "private") != NULL || strstr(query, "listenKey") != NULL;
  connection->is_market = strstr(path, "markPrice") != NULL || strstr(query, "markPrice") != NULL;
}

static const char *header(const char *from, const char *name) {
  size_t length = strlen(name);
  for (const char *at = strstr(from, "\r\n"); at && at[2] != '\r'; at = strstr(at + 2, "\r\n"))
    if (!strncasecmp(at + 2, name, length) && at[2 + length] == ':') {
      at += 3 + length;
      return at + strspn(at, " ");
    }
  return NULL;
}

/* Consumes whole HTTP requests. */
static void take_requests(Connection *connection, int64_t at_ns) {
  size_t used = 0;
  while (!connection->is_websocket) {
    char *at = connection->in.at + used;
    char *end = memmem(at, connection->in.length - used, "\r\n\r\n", 4);
    if (!end) break;
    const char *length_text = header(at, "Content-Length"), *key = header(at, "Sec-WebSocket-Key");
    size_t length = length_text ? strtoul(length_text, NULL, 10) : 0;
    char *form = end + 4;
    if ((size_t)(connection->in.at + connection->in.length - form) < length) break;
    char *method = at, *path = strchr(at, ' ') + 1, *stop = strchr(path, ' '), kept = form[length];
    path[-1] = 0;
    *stop = 0;
    form[length] = 0;
    char *query = strchr(path, '?');
    if (query) *query++ = 0;
    if (key) shake_hands(connection, key, path, query ? query : "");
    else serve(connection, method, path, query ? query : "", form, at_ns);
    form[length] = kept;
    used = (size_t)(form + length - connection->in.at);
  }
  memmove(connection->in.at, connection->in.at + used, connection->in.length - used);
  connection->in.length -= used;
}

/* ---- sockets */

static void close_connection(int fd) {
  Connection *connection = &connections[fd];
  connection->is_open = connection->is_websocket = connection->is_user = connection->is_market = 0;
  connection->in.length = connection->out.length = 0;
  close(fd);
}

static void watch(int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event)) fail("epoll_ctl");
}

static void flush(int fd) {
  Connection *connection = &connections[fd];
  size_t sent = 0;
  while (sent < connection->out.length) {
    ssize_t count = write(fd, connection->out.at + sent, connection->out.length - sent);
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) { close_connection(fd); return; }
    sent += (size_t)count;
  }
  int waited = sent < connection->out.length;
  memmove(connection->out.at, connection->out.at + sent, connection->out.length - sent);
  connection->out.length -= sent;
  if (waited) watch(fd, EPOLLIN | EPOLLOUT);
}

static void read_from(int fd) {
  Connection *connection = &connections[fd];
  reserve(&connection->in, 65536);
  ssize_t count = read(fd, connection->in.at + connection->in.length, 65535);
  int64_t at_ns = clock_ns(CLOCK_MONOTONIC);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) { close_connection(fd); return; }
  connection->in.length += (size_t)count;
  connection->in.at[connection->in.length] = 0;
  if (!connection->is_websocket) take_requests(connection, at_ns);
  if (connection->is_websocket && !take_frames(connection, at_ns)) { close_connection(fd); return; }
  flush(fd);
}

static void take_connection(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), yes = 1;
  if (fd < 0) return;
  if (fd >= FDS_MAX) { close(fd); return; }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  connections[fd].is_open = 1;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

/* Once a second: mark prices for those who asked for the stream. */
static void tell_marks(int timer) {
  static Buffer frame;
  uint64_t ticks;
  if (read(timer, &ticks, sizeof ticks) < 0) return;
  frame.length = 0;
  for (int fd = 0; fd < FDS_MAX; fd++) {
    if (!connections[fd].is_open || !connections[fd].is_market) continue;
    if (!frame.length) {
      print(&frame, "{\"stream\":\"!markPrice@arr@1s\",\"data\":[");
      for (int i = 0; i < symbol_count; i++)
        print(&frame, "%s{\"e\":\"markPriceUpdate\",\"E\":%lld,\"s\":\"%s\",\"p\":\"%s\",\"i\":\"%s\",\"P\":\"%s\",\"r\":\"0.0001\",\"T\":%lld}",
              i ? "," : "", (long long)now_ms(), symbols[i].name, symbols[i].price, symbols[i].price, symbols[i].price,
              (long long)now_ms() / 28800000 * 28800000 + 28800000);
      print(&frame, "]}");
    }
    send_text(&connections[fd], frame.at, frame.length);
    flush(fd);
  }
}

/* ---- start */

static void load_body(const char *folder, const char *method, const char *path, const char *file) {
  char name[512];
  Buffer content = {0}, reply = {0};
  snprintf(name, sizeof name, "%s/%s", folder, file);
  FILE *in = fopen(name, "rb");
  if (!in) fail(name);
  size_t count;
  do {
    reserve(&content, 65536);
    count = fread(content.at + content.length, 1, 65536, in);
    content.length += count;
  } while (count);
  fclose(in);
  if (body_count == BODIES_MAX) { fprintf(stderr, "too many bodies\n"); exit(1); }
  Body *body = &bodies[body_count++];
  snprintf(body->method, sizeof body->method, "%.7s", method);
  snprintf(body->path, sizeof body->path, "%.159s", path);
  respond(&reply, "200 OK", &content);
  free(content.at);
  body->reply = reply.at;
  body->length = reply.length;
  take_slot(body_slots, BODIES_MAX * 4, path, body_count);
}

static void load(const char *folder) {
  char name[512], first[256], second[256], third[256];
  snprintf(name, sizeof name, "%s/symbols", folder);
  FILE *in = fopen(name, "r");
  if (!in) fail(name);
  while (fscanf(in, "%255s %255s", first, second) == 2 && symbol_count < SYMBOLS_MAX) {
    Symbol *symbol = &symbols[symbol_count++];
    snprintf(symbol->name, TEXT, "%.47s", first);
    snprintf(symbol->price, TEXT, "%.47s", second);
    symbol->newest_order = -1;
    take_slot(symbol_slots, SYMBOLS_MAX * 4, symbol->name, symbol_count);
  }
  fclose(in);
  snprintf(name, sizeof name, "%s/bodies", folder);
  if (!(in = fopen(name, "r"))) fail(name);
  while (fscanf(in, "%255s %255s %255s", first, second, third) == 3) load_body(folder, first, second, third);
  fclose(in);
}

int main(int count, char **words) {
  if (count != 2) { fprintf(stderr, "stub_exchange FOLDER\n"); return 2; }
  load(words[1]);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (listener < 0 || bind(listener, (void *)&address, length) || listen(listener, 128)) fail("listen");
  getsockname(listener, (void *)&address, &length);
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct itimerspec every = {{1, 0}, {1, 0}};
  timerfd_settime(timer, 0, &every, NULL);
  poller = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
  if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) fail("epoll_ctl");
  event.data.fd = timer;
  if (epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event)) fail("epoll_ctl");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int ready = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) { take_connection(listener); continue; }
      if (fd == timer) { tell_marks(timer); continue; }
      if (events[i].events & EPOLLOUT) { watch(fd, EPOLLIN); flush(fd); }
      if (connections[fd].is_open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(fd);
    }
  }
}
