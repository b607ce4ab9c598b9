/* The least that a plan can cost: the same round trips as the engine's, in C, without a decision.
 *
 *     floor SOCKET PORT NAMESPACE rest|ws CLAIM.lua
 *
 * One blocking connection to Redis and one to the exchange, RESP and HTTP written by hand. A plan is
 * read (XREADGROUP with MGET and HGETALL behind it), claimed by the engine's own script with arguments
 * of the engine's size, sent, and settled by one pipeline. Nothing is judged, signed or logged. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20, WORDS = 4096, SYMBOLS = 4096, RECORD = 1900, TRACE = 1800 };

typedef struct { char *at; size_t length; } Text;
typedef struct { char name[48]; char amount[48]; } Held;

static char out[ROOM], in[ROOM], form[2048];
static size_t out_length, in_length, in_used;
static Text words[WORDS];
static int word_count;
static Held held[SYMBOLS];
static int redis, exchange, is_ws;
static const char *space;

static void fail(const char *what) { perror(what); exit(1); }

static void put(const char *bytes, size_t length) {
  memcpy(out + out_length, bytes, length);
  out_length += length;
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  va_list values;
  va_start(values, format);
  out_length += (size_t)vsnprintf(out + out_length, ROOM - out_length, format, values);
  va_end(values);
}

static void word(const char *bytes, size_t length) {
  say("$%zu\r\n", length);
  put(bytes, length);
  put("\r\n", 2);
}

static void text(const char *bytes) { word(bytes, strlen(bytes)); }

static void key(const char *rest, const char *end) {
  char name[256];
  word(name, (size_t)snprintf(name, sizeof name, "%s:%s%s", space, rest, end));
}

static void command(int count) { say("*%d\r\n", count); }

static void flush(int fd) {
  for (size_t sent = 0; sent < out_length;) {
    ssize_t count = write(fd, out + sent, out_length - sent);
    if (count < 0) fail("write");
    sent += (size_t)count;
  }
  out_length = 0;
}

static void more(int fd) {
  if (in_used == in_length) in_used = in_length = 0;
  ssize_t count = read(fd, in + in_length, ROOM - in_length - 1);
  if (count <= 0) exit(0);
  in_length += (size_t)count;
  in[in_length] = 0;
}

static char *line(void) {
  for (;;) {
    char *from = in + in_used, *end = memmem(from, in_length - in_used, "\r\n", 2);
    if (end) {
      *end = 0;
      in_used = (size_t)(end + 2 - in);
      return from;
    }
    more(redis);
  }
}

/* Reads one reply into the flat list of its words. */
static void reply(void) {
  char *first = line();
  long count = strtol(first + 1, NULL, 10);
  if (*first == '-') { fprintf(stderr, "%s\n", first); exit(1); }
  if (*first == '*') {
    for (long i = 0; i < count; i++) reply();
  } else if (*first == '$' && count >= 0) {
    while (in_length - in_used < (size_t)count + 2) more(redis);
    if (word_count < WORDS) words[word_count++] = (Text){in + in_used, (size_t)count};
    in[in_used + (size_t)count] = 0;
    in_used += (size_t)count + 2;
  } else if (word_count < WORDS) {
    words[word_count++] = (Text){first, strlen(first)};
  }
}

static void replies(int count) {
  for (word_count = 0; count--;) reply();
}

static const char *field(int from, int to, const char *name) {
  for (int i = from; i + 1 < to; i += 2)
    if (!strcmp(words[i].at, name)) return words[i + 1].at;
  return "";
}

static Held *held_of(const char *symbol) {
  Held *found = held;
  while (*found->name && strcmp(found->name, symbol)) found++;
  snprintf(found->name, sizeof found->name, "%s", symbol);
  return found;
}

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The engine's 13 keys and, for an open, 24 arguments; the lease is the floor's own. */
static void claim(const char *sha, const char *plan_id, const char *symbol, int is_exit, const char *record) {
  char number[32];
  command(3 + 13 + (is_exit ? 9 : 24)); /* as long as the engine's arguments are */
  text("EVALSHA"); text(sha); text("13");
  key("exec:processed:", plan_id); key("exec:lock:", symbol); key("exec:claim_sums", ""); key("floor:lease", "");
  key("kill", ""); key("safety:disarmed", ""); key("safety:safe_mode", ""); key("safety:cooldown_global", "");
  key("safety:cooldown_symbol:", symbol); key("exec:rate:symbol:", symbol); key("exec:rate:global", "");
  key("exec:claims", ""); key("exec:plan:", plan_id);
  text("floor:1"); text(is_exit ? "exit" : "open"); text(plan_id);
  word(number, (size_t)snprintf(number, sizeof number, "%lld", now_ms()));
  word(record, RECORD);
  text("{\"kind\":\"open\",\"symbol\":\"XRPUSDT\",\"leg\":\"XRPUSDT\",\"notional\":60000000,\"base_notional\":0,\"margin\":3000000}");
  text("60000"); text(""); text(symbol);
  if (is_exit) return;
  text(symbol); text("0"); text("1000000000"); text("1000000000"); text("1000000000"); text("0"); text("0"); text("{}");
  text("999999996250000"); text("649999997000000"); text("1000000000"); text("999999940000000"); text("1000000000");
  text("60000000"); text("3000000");
}

static void answer_of_exchange(void) {
  in_used = in_length = 0;
  for (;;) {
    more(exchange);
    char *end = is_ws ? memchr(in, '}', in_length) : strstr(in, "\r\n\r\n"); /* frames may hold a 0 */
    if (!end) continue;
    if (is_ws) break;
    char *length = strstr(in, "Content-Length: ");
    if (in_length >= (size_t)(end + 4 - in) + strtoul(length + 16, NULL, 10)) break;
  }
  in_used = in_length = 0;
}

static void order(const char *name, const char *symbol, const char *side, const char *quantity, int reduces) {
  if (!is_ws) {
    int length = snprintf(form, sizeof form,
        "symbol=%s&side=%s&positionSide=BOTH&type=MARKET&quantity=%s&newClientOrderId=%s&newOrderRespType=RESULT%s"
        "&recvWindow=3000&timestamp=%lld&signature=%064d", symbol, side, quantity, name,
        reduces ? "&reduceOnly=true" : "", now_ms(), 0);
    say("POST /fapi/v1/order HTTP/1.1\r\nHost: 127.0.0.1\r\nX-MBX-APIKEY: bench-key\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", length, form);
  } else {
    int length = snprintf(form, sizeof form,
        "{\"id\":\"%s\",\"method\":\"order.place\",\"params\":{\"apiKey\":\"bench-key\",\"symbol\":\"%s\",\"side\":\"%s\","
        "\"positionSide\":\"BOTH\",\"type\":\"MARKET\",\"quantity\":\"%s\",\"newClientOrderId\":\"%s\",\"reduceOnly\":\"%s\","
        "\"newOrderRespType\":\"RESULT\",\"recvWindow\":3000,\"timestamp\":%lld,\"signature\":\"%064d\"}}",
        name, symbol, side, quantity, name, reduces ? "true" : "false", now_ms(), 0);
    char start[8] = {(char)0x81, (char)(0x80 | 126), (char)(length >> 8), (char)length, 0, 0, 0, 0};
    put(start, sizeof start);
    put(form, (size_t)length);
  }
  flush(exchange);
  answer_of_exchange();
}

static void settle(const char *plan_id, const char *stream_id, const char *symbol, const char *trace) {
  command(14);
  text("XADD"); key("stream:apply.result", ""); text("MAXLEN"); text("~"); text("10000"); text("*");
  text("plan_id"); text(plan_id); text("decision"); text("FILLED"); text("symbol"); text(symbol);
  text("trace"); word(trace, TRACE);
  command(4); text("SET"); key("exec:processed:", plan_id); text("terminal"); text("KEEPTTL");
  command(3); text("HDEL"); key("exec:claims", ""); text(plan_id);
  command(2); text("DEL"); key("exec:lock:", symbol);
  command(4); text("XACK"); key("stream:apply.plan", ""); text("quantum-trader"); text(stream_id);
  flush(redis);
  replies(5);
}

static void run_plan(const char *sha, const char *stream_id, int from, int to, const char *filler) {
  char plan_id[160], symbol[48], side[16], quantity[48];
  snprintf(plan_id, sizeof plan_id, "%s", field(from, to, "plan_id"));
  snprintf(symbol, sizeof symbol, "%s", field(from, to, "symbol"));
  snprintf(side, sizeof side, "%s", field(from, to, "side"));
  Held *position = held_of(symbol);
  int closes = !strcmp(side, "CLOSE");
  snprintf(quantity, sizeof quantity, "%s", closes ? position->amount : field(from, to, "qty"));
  claim(sha, plan_id, symbol, closes, filler);
  flush(redis);
  replies(1);
  if (strcmp(words[0].at, "ok")) { fprintf(stderr, "refused: %s\n", words[1].at); exit(1); }
  order(plan_id, symbol, closes ? "SELL" : "BUY", quantity, closes);
  snprintf(position->amount, sizeof position->amount, "%s", closes ? "" : quantity);
  settle(plan_id, stream_id, symbol, filler);
}

/* Answers to XREADGROUP come as: stream, then (id, fields...) for each entry; COUNT 1 keeps it simple. */
static void read_on(const char *sha, const char *filler) {
  for (;;) {
    char stream_id[64];
    command(11);
    text("XREADGROUP"); text("GROUP"); text("quantum-trader"); text("floor"); text("COUNT"); text("1"); text("BLOCK");
    text("0"); text("STREAMS"); key("stream:apply.plan", ""); text(">");
    command(6);
    text("MGET"); key("kill", ""); key("safety:safe_mode", ""); key("safety:cooldown_global", "");
    key("safety:disarmed", ""); key("bsc:health", "");
    command(2);
    text("HGETALL"); key("policy:current", "");
    flush(redis);
    word_count = 0;
    reply();
    int end = word_count;
    reply();
    reply();
    if (end < 2) continue;
    snprintf(stream_id, sizeof stream_id, "%s", words[1].at);
    run_plan(sha, stream_id, 2, end, filler);
  }
}

static void shake_hands(void) {
  say("GET /ws-fapi/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  flush(exchange);
  do more(exchange); while (!strstr(in, "\r\n\r\n"));
  in_used = in_length = 0;
}

static void connect_both(const char *socket_path, int port) {
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int yes = 1;
  snprintf(local.sun_path, sizeof local.sun_path, "%s", socket_path);
  redis = socket(AF_UNIX, SOCK_STREAM, 0);
  exchange = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(redis, (void *)&local, sizeof local)) fail("redis");
  if (connect(exchange, (void *)&loopback, sizeof loopback)) fail("exchange");
  setsockopt(exchange, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

int main(int count, char **arguments) {
  static char script[65536], filler[4096], sha[64];
  if (count != 6) { fprintf(stderr, "floor SOCKET PORT NAMESPACE rest|ws CLAIM.lua\n"); return 2; }
  space = arguments[3];
  is_ws = !strcmp(arguments[4], "ws");
  connect_both(arguments[1], atoi(arguments[2]));
  if (is_ws) shake_hands();
  FILE *file = fopen(arguments[5], "r");
  if (!file) fail(arguments[5]);
  size_t length = fread(script, 1, sizeof script - 1, file);
  memset(filler, 'x', sizeof filler - 1);
  command(3); text("SCRIPT"); text("LOAD"); word(script, length);
  command(3); text("SET"); key("floor:lease", ""); text("floor:1");
  flush(redis);
  replies(2);
  snprintf(sha, sizeof sha, "%s", words[0].at);
  command(6); text("XGROUP"); text("CREATE"); key("stream:apply.plan", ""); text("quantum-trader"); text("0"); text("MKSTREAM");
  flush(redis);
  replies(1);
  printf("ready\n");
  fflush(stdout);
  read_on(sha, filler);
}
