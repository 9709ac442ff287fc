/* Many users of one server from one thread: epoll and raw sockets, so that the server is the bottleneck and not this.
 *
 *   loadgen --port P[,P] --pid PID[,PID] --users N [options], and one JSON object a line on standard output:
 *
 *   {"kind":"connected", ...}   every user is welcome; how long that took, and what it added to the server's memory
 *   {"kind":"progress", ...}    five times a second, while a round runs
 *   {"kind":"window"}           the part of the round that is measured begins (--window)
 *   {"kind":"round", ...}       one run of --events events for every user, all read and checked; "each_cpu" has a
 *                               number for each PID, "server_cpu" is their sum
 *   {"kind":"storm", ...}       every user was cut off in its run and came back with resume at once (--storm)
 *
 * Several ports: the users take turns. Dialects: greenroom (greenroom.v1), plain (a JSON text message to start, then
 * messages with "seq" and a stamp), sio (the same in Socket.IO's framing). Every user's events must carry the seq that
 * follows, or the round counts a fault.
 *
 * A round is measured whole, or with --window SECONDS for so long, from --warm seconds after every user had its first
 * event; it is an error when a run ends before that. With --cut the round is over then, and not when the runs are; the next
 * one starts further runs beside them, or with --keep none: then all rounds measure the same runs. After
 * --rounds come more, until --lasting SECONDS were measured in all but the first, if that is longer. With
 * --input JSON the agent may be anybody's: a round lasts until every user's run is completed, and without a stamp in its
 * events their ages are those of their "ts".
 *
 * The first --apart users run, but are not measured: --apart-events at --apart-rate, of which they read --apart-bytes a
 * second (-1: like everybody, 0: never, into a receive buffer of 4 KB). With --alternate they do so in one of two
 * rounds only, and come back as other sessions for each.
 *
 * With --spin it never sleeps while it measures: it asks epoll again and again. A send that wakes a sleeping receiver on the same machine is
 * paid by the sender, and no receiver on another machine costs that. What it asks in vain is not counted as busy.
 *
 * With --tolerant a user that is refused, closed or cut off is told as {"kind":"error", ...} and goes missing; without,
 * that is the end. Exit status 1 with one line on standard error for whatever goes wrong. Times are in µs unless a name says otherwise.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, SILENCE_MS = 30000, MAX_PIDS = 8, TICK_MS = 20, STEPS = 4 * 32 };
enum dialect { GREENROOM, PLAIN, SIO };
enum state { CLOSED, UPGRADING, GREETING, LIVE };

typedef struct {
  int fd, number, apart, held;
  enum state state;
  long last;  /* the newest event's seq */
  long first; /* its seq when the round began */
  int begun, done;
  char epoch[64];
  const char *token;
  uint32_t length;
  char *buffer;
} user;

static enum dialect dialect = GREENROOM;
static int port[MAX_PIDS], ports, users, rounds = 1, apart, alternate, storm, pids, ramp, opening_at_once = 256;
static long server[MAX_PIDS], events = 200, apart_events, apart_bytes = -1, away_ms = 1000;
static double rate, apart_rate, warm, window, lasting, lasted;
static const char *host = "127.0.0.1", *path = "/", *agent = "load", *stamp = "", *input, *tokens;
static char run_tag[32];
static int holding, incarnation;

static int epoll;
static user *all;
static uint32_t *latencies;
static long counted, measured, stamped, room, faults, frames, live, recovered, resets, begun, done, lost, gone, retried;
static int measuring, tolerant, cut, keep, spin;
static double spun; /* seconds of CPU that were spent asking in vain */

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

static void lose(user *u) {
  if (u->fd >= 0) close(u->fd);
  u->fd = -1;
  if (u->apart) {
    lost++;
  } else {
    gone++;
    begun -= u->begun;
    done -= u->done;
  }
  if (u->state == LIVE) live--;
  u->state = CLOSED;
  u->begun = u->done = 0;
}

/* Something went wrong for one user: the end of everything, of that user with --tolerant, of nothing much apart. */
static void fail(user *u, const char *format, ...) {
  char what[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  if (!tolerant && !u->apart) die("user %d: %s", u->number, what);
  for (char *c = what; *c; c++)
    if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '\'';
  if (!u->apart) printf("{\"kind\":\"error\",\"user\":%d,\"what\":\"%s\"}\n", u->number, what);
  lose(u);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double cpu_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double own_cpu(void) { return cpu_clock() - spun; }

static double process_cpu(int i) { /* seconds, user and system, all threads; to the ns, where /proc counts in 10 ms */
  clockid_t clock;
  struct timespec t;
  return !clock_getcpuclockid(server[i], &clock) && !clock_gettime(clock, &t) ? t.tv_sec + t.tv_nsec / 1e9 : 0;
}

static double server_cpu(void) {
  double sum = 0;
  for (int i = 0; i < pids; i++) sum += process_cpu(i);
  return sum;
}

/* Seconds for which the server's threads were ready to run, and something else had their core: each other, too. */
static double server_waited(void) {
  double sum = 0;
  for (int i = 0; i < pids; i++) {
    char name[300];
    snprintf(name, sizeof name, "/proc/%ld/task", server[i]);
    DIR *threads = opendir(name);
    for (struct dirent *thread; threads && (thread = readdir(threads));) {
      unsigned long long ran, waited = 0;
      snprintf(name, sizeof name, "/proc/%ld/task/%.20s/schedstat", server[i], thread->d_name);
      FILE *file = fopen(name, "r");
      if (!file) continue;
      if (fscanf(file, "%llu %llu", &ran, &waited) == 2) sum += waited / 1e9;
      fclose(file);
    }
    if (threads) closedir(threads);
  }
  return sum;
}

static long resident_kb(void) {
  long sum = 0;
  for (int i = 0; i < pids; i++) {
    char name[64], line[256];
    long kb = 0;
    snprintf(name, sizeof name, "/proc/%ld/status", server[i]);
    FILE *file = fopen(name, "r");
    if (!file) continue;
    while (fgets(line, sizeof line, file) && sscanf(line, "VmRSS: %ld", &kb) != 1) continue;
    fclose(file);
    sum += kb;
  }
  return sum;
}

/* One masked text message, with a mask of zeros: the server unmasks it all the same. RFC 6455 section 5.2. */
static void send_text(user *u, const char *text) {
  size_t size = strlen(text), head = 2;
  unsigned char message[16384] = {0x81};
  if (size > sizeof message - 16) die("a message of %zu bytes is too long for this generator", size);
  if (size < 126) {
    message[1] = 0x80 | size;
  } else {
    message[1] = 0x80 | 126;
    message[2] = size >> 8;
    message[3] = size & 255;
    head = 4;
  }
  memset(message + head, 0, 4);
  memcpy(message + head + 4, text, size);
  ssize_t sent = write(u->fd, message, head + 4 + size);
  if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) return; /* what is read next tells */
  if (sent != (ssize_t)(head + 4 + size)) die("write: %s", sent < 0 ? strerror(errno) : "the socket is full");
}

static void open_user(user *u) {
  int to = port[u->number % ports];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(to)};
  int one = 1, small = 4096;
  inet_pton(AF_INET, host, &address.sin_addr);
  u->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (u->fd < 0) die("socket: %s", strerror(errno));
  setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  u->held = u->apart && holding;
  if (u->held) setsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(u->fd, (void *)&address, sizeof address)) die("connect: %s", strerror(errno));
  char request[512];
  int size = snprintf(request, sizeof request,
                      "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                      path, host, to);
  if (write(u->fd, request, size) != size) die("write: %s", strerror(errno));
  fcntl(u->fd, F_SETFL, O_NONBLOCK);
  u->state = UPGRADING;
  u->length = 0;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = u};
  epoll_ctl(epoll, EPOLL_CTL_ADD, u->fd, &event);
}

static void greet(user *u) {
  char hello[8192], resume[160] = "";
  u->state = GREETING;
  if (dialect == PLAIN) {
    u->state = LIVE;
    live++;
  } else if (dialect == GREENROOM) {
    if (u->epoch[0])
      snprintf(resume, sizeof resume, ",\"resume\":{\"epoch\":\"%s\",\"seq\":%ld}", u->epoch, u->last);
    snprintf(hello, sizeof hello, "{\"type\":\"hello\",\"session\":\"bench-%s-%d-%d\",\"token\":\"%s\"%s}", run_tag,
             u->number, u->apart ? incarnation : 0, u->token, resume);
    send_text(u, hello);
  } /* Socket.IO's server speaks first */
}

static void welcomed(user *u, char *text, size_t size) {
  char *epoch = memmem(text, size, "\"epoch\":\"", 9);
  if (!epoch) die("a welcome without an epoch: %.*s", (int)size, text);
  int again = u->epoch[0] != 0;
  if (sscanf(epoch + 9, "%63[^\"]", u->epoch) != 1) die("a welcome with an empty epoch");
  if (memmem(text, size, "\"recovered\":true", 16)) recovered++;
  else if (again) resets++;
  u->state = LIVE;
  live++;
  if (u->held) epoll_ctl(epoll, EPOLL_CTL_DEL, u->fd, NULL); /* from here on it reads as trickle() lets it */
}

static void note_age(int64_t age) {
  if (age < 0 || age >= UINT32_MAX) return;
  if (stamped == room && !(latencies = realloc(latencies, (room = room * 2 + 4096) * sizeof *latencies))) die("no memory");
  latencies[stamped++] = age;
}

/* The age of an event whose text begins at `at`: by the stamp in it, else by its "ts" on the clock of the day, in ms. */
static void measure_age(char *at, char *until, int64_t arrived) {
  char *mark = memmem(at, until - at, stamp, strlen(stamp));
  if (mark && mark[strlen(stamp)] >= '0' && mark[strlen(stamp)] <= '9')
    return note_age((arrived - strtoll(mark + strlen(stamp), NULL, 10)) / 1000);
  if (!input || !(mark = memmem(at, until - at, "\"ts\":", 5))) return;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  note_age((t.tv_sec * 1000LL + t.tv_nsec / 1000000 - strtoll(mark + 5, NULL, 10)) * 1000);
}

static void is_done(user *u) {
  if (u->done) return;
  u->done = 1;
  if (!u->apart) done++;
}

static void count_events(user *u, char *at, char *end, int64_t arrived) {
  char *found;
  while ((found = memmem(at, end - at, "\"seq\":", 6))) {
    long seq = strtol(found + 6, &at, 10);
    if (seq != u->last + 1) faults++;
    u->last = seq;
    char *next = memmem(at, end - at, "\"seq\":", 6), *until = next ? next : end;
    if (!u->apart) {
      counted++;
      if (!u->begun) {
        u->begun = 1;
        begun++;
      }
      if (measuring) {
        measured++;
        measure_age(at, until, arrived);
      }
    }
    if (input ? memmem(at, until - at, "\"agent_completed\"", 17) && !memmem(at, until - at, "\"parent_run_id\"", 15)
              : u->last - u->first >= events + (dialect == GREENROOM ? 2 : 0))
      is_done(u);
    at = until;
  }
}

static void text_message(user *u, char *text, size_t size, int64_t arrived) {
  if (!u->apart && measuring) frames++;
  if (dialect == SIO) {
    if (size == 1 && text[0] == '2') return send_text(u, "3");
    if (u->state == GREETING && text[0] == '0') return send_text(u, "40");
    if (u->state == GREETING && size > 1 && text[0] == '4' && text[1] == '0') {
      u->state = LIVE;
      live++;
      return;
    }
  } else if (dialect == GREENROOM && memcmp(text, "{\"type\":\"events\"", size < 16 ? size : 16)) {
    if (!u->apart && measuring) frames--;
    if (size >= 15 && !memcmp(text, "{\"type\":\"ping\"", 14)) return send_text(u, "{\"type\":\"pong\"}");
    if (u->state == GREETING && size > 18 && !memcmp(text, "{\"type\":\"welcome\"", 17)) return welcomed(u, text, size);
    if (memmem(text, size < 64 ? size : 64, "\"goodbye\"", 9) || memmem(text, size, "\"ok\":false", 10))
      fail(u, "the server said: %.*s", (int)(size < 400 ? size : 400), text);
    return;
  }
  count_events(u, text, text + size, arrived);
}

static void take_frames(user *u, int64_t arrived) {
  char *at = u->buffer, *end = u->buffer + u->length;
  if (u->state == UPGRADING) {
    char *rest = memmem(at, end - at, "\r\n\r\n", 4);
    if (!rest) return;
    if (strncmp(at, "HTTP/1.1 101", 12)) return fail(u, "no upgrade: %.*s", (int)strcspn(at, "\r\n"), at);
    at = rest + 4;
    greet(u);
  }
  while (end - at >= 2) {
    unsigned char *bytes = (unsigned char *)at;
    uint64_t size = bytes[1] & 127;
    int head = 2;
    if (size == 126) {
      if (end - at < 4) break;
      size = bytes[2] << 8 | bytes[3];
      head = 4;
    } else if (size == 127) {
      if (end - at < 10) break;
      size = 0;
      for (int i = 0; i < 8; i++) size = size << 8 | bytes[2 + i];
      head = 10;
    }
    if ((uint64_t)(end - at) < head + size) break;
    int opcode = bytes[0] & 15;
    if (opcode == 8) return fail(u, "the server closed the connection");
    if (opcode == 9) { /* ping: a pong with the same payload */
      unsigned char pong[140] = {0x8a, 0x80 | (unsigned char)size};
      memcpy(pong + 6, at + head, size);
      if (write(u->fd, pong, 6 + size) < 0) die("write: %s", strerror(errno));
    } else {
      text_message(u, at + head, size, arrived);
      if (u->state == CLOSED) return;
    }
    at += head + size;
  }
  u->length = end - at;
  if (u->length == BUFFER) die("a message of more than %d bytes", BUFFER);
  if (at != u->buffer && u->length) memmove(u->buffer, at, u->length);
}

/* Let the users that are held read what they may in `seconds`. */
static void trickle(double seconds) {
  long share = apart_bytes * seconds;
  for (user *u = all; holding && share > 0 && u < all + apart; u++) {
    if (u->state != LIVE || !u->held) continue;
    long most = BUFFER - u->length;
    ssize_t got = read(u->fd, u->buffer + u->length, share < most ? share : most);
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) {
      lose(u);
      continue;
    }
    u->length += got;
    take_frames(u, now_ns());
  }
}

/* What is ready, waited for up to `wait_ms`: asleep, or awake with --spin while it measures. */
static int wait_for(struct epoll_event *ready, int most, int wait_ms) {
  if (!spin || !measuring) return epoll_wait(epoll, ready, most, wait_ms);
  for (int64_t until = now_ns() + wait_ms * 1000000LL;;) {
    double before = cpu_clock();
    int found = epoll_wait(epoll, ready, most, 0);
    if (found) return found;
    spun += cpu_clock() - before;
    if (now_ns() >= until) return 0;
  }
}

/* Read whatever is there; the number of sockets that had something, 0 after `wait_ms` of silence. */
static int pump(int wait_ms) {
  static int64_t trickled;
  struct epoll_event ready[256];
  if (holding && apart_bytes > 0 && now_ns() - trickled > TICK_MS * 1000000LL) {
    double seconds = (now_ns() - trickled) / 1e9;
    trickled = now_ns();
    trickle(seconds < 1 ? seconds : 1);
  }
  int found = wait_for(ready, 256, wait_ms);
  for (int i = 0; i < found; i++) {
    user *u = ready[i].data.ptr;
    ssize_t got = read(u->fd, u->buffer + u->length, BUFFER - u->length);
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0 && u->state < LIVE && retried < users) { /* its handshake took too long: it comes again */
      retried++;
      close(u->fd);
      open_user(u);
      continue;
    }
    if (got <= 0) {
      fail(u, "the server cut the connection off: %s", got ? strerror(errno) : "end of stream");
      continue;
    }
    u->length += got;
    take_frames(u, now_ns());
  }
  return found;
}

/* Open everybody, `ramp` a second or as fast as they get through; the seconds until the last was live. */
static double connect_all(void) {
  int64_t began = now_ns();
  live = recovered = resets = retried = gone = 0;
  for (int opened = 0; live + gone < users;) {
    long due = ramp ? (now_ns() - began) / 1e9 * ramp + 1 : users;
    while (opened < users && opened < due && opened - live - gone < opening_at_once) open_user(all + opened++);
    if (!pump(ramp ? 1 : SILENCE_MS) && !ramp) die("%ld of %d were welcome, then nothing", live, users);
  }
  return (now_ns() - began) / 1e9;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static uint32_t quantile(double share) { return stamped ? latencies[(long)(share * (stamped - 1))] : 0; }

/* How many ages there are in each step of a quarter of an octave, from 1 µs on, as a JSON list. */
static void print_histogram(void) {
  long steps[STEPS] = {0};
  int last = 0;
  for (long i = 0; i < stamped; i++) {
    int step = latencies[i] ? (int)(4 * log2(latencies[i])) : 0;
    steps[step]++;
    if (step > last) last = step;
  }
  printf("[");
  for (int i = 0; i <= last; i++) printf("%s%ld", i ? "," : "", steps[i]);
  printf("]");
}

static void start_text(char *text, size_t size, const char *id, long how_many, double how_fast) {
  char said[4096];
  if (input)
    snprintf(said, sizeof said, "%s", input);
  else
    snprintf(said, sizeof said, "{\"events\":%ld,\"rate\":%g}", how_many, how_fast);
  if (dialect == GREENROOM)
    snprintf(text, size,
             "{\"type\":\"command\",\"id\":\"%s-%s\",\"name\":\"run.start\",\"args\":{\"agent\":\"%s\",\"input\":%s}}",
             run_tag, id, agent, said);
  else
    snprintf(text, size, dialect == SIO ? "42[\"run\",{\"k\":%ld,\"rate\":%g}]" : "{\"k\":%ld,\"rate\":%g}", how_many,
             how_fast);
}

static char start_all[8192], start_apart[8192];
static int started;

/* Start the next runs: everybody's, or no more than `most` that have not begun yet. */
static void start_more(int most) {
  for (; started < users && started - begun - gone < most; started++) {
    user *u = all + started;
    if (u->state == LIVE) send_text(u, u->apart ? start_apart : start_all);
  }
}

/* Begin with everybody's run, all at once or as they come off; nothing is measured until `measuring` is set. */
static void start_runs(const char *id, int most) {
  counted = measured = stamped = faults = frames = begun = done = 0;
  start_text(start_all, sizeof start_all, id, events, rate);
  start_text(start_apart, sizeof start_apart, id, apart_events ? apart_events : events, apart_events ? apart_rate : rate);
  for (user *u = all; u < all + users; u++) {
    u->first = u->last;
    u->begun = u->done = 0;
  }
  started = 0;
  start_more(most);
}

static long wanted(void) { /* started and completed come on top */
  return input ? 0 : (users - apart) * (events + (dialect == GREENROOM ? 2 : 0));
}

static int all_done(void) { return done + gone == users - apart; }

typedef struct {
  int64_t at;
  double server, own, waited, each[MAX_PIDS];
} moment;

static moment now(void) {
  moment taken = {now_ns(), server_cpu(), own_cpu(), server_waited(), {0}};
  for (int i = 0; i < pids; i++) taken.each[i] = process_cpu(i);
  return taken;
}

static void print_progress(void) {
  static int64_t told, began;
  if (!began) began = now_ns();
  if (now_ns() - told < 200000000) return;
  told = now_ns();
  printf("{\"kind\":\"progress\",\"events\":%ld,\"wanted\":%ld,\"done\":%ld,\"seconds\":%.3f,\"server_cpu\":%.6f,"
         "\"own_cpu\":%.3f,\"resident_kb\":%ld}\n", counted, wanted(), done, (told - began) / 1e9, server_cpu(), own_cpu(),
         resident_kb());
}

/* Users apart come again, as new sessions, held or not. */
static void renew_apart(void) {
  incarnation++;
  for (user *u = all; u < all + apart; u++) {
    if (u->state == LIVE) live--;
    u->state = CLOSED;
    if (u->fd >= 0) close(u->fd);
    u->epoch[0] = u->last = 0;
    open_user(u);
  }
  while (live + gone < users)
    if (!pump(SILENCE_MS)) die("the users apart were not welcome");
}

static void run_round(int number) {
  char id[16];
  if (apart && alternate) {
    holding = number % 4 == 2 || number % 4 == 3; /* neither kind is always the first of two */
    renew_apart();
  }
  snprintf(id, sizeof id, "%d", number);
  moment start = now(), open = start, end = {0};
  int64_t all_began = 0;
  measuring = !window;
  int most = window ? opening_at_once + apart : users; /* what is measured later need not begin at once */
  if (keep && number > 1) {
    measured = stamped = frames = 0;
    all_began = start.at;
  } else {
    start_runs(id, most);
  }
  int64_t heard = start.at;
  while (!all_done() && !(cut && end.at)) {
    start_more(most);
    if (pump(window || holding ? TICK_MS : SILENCE_MS)) heard = now_ns();
    if (now_ns() - heard > SILENCE_MS * 1000000LL)
      die("%ld of %ld events came, then nothing for %d s", counted, wanted(), SILENCE_MS / 1000);
    if (window && !all_began && begun + gone == users - apart) all_began = now_ns();
    if (window && !measuring && !end.at && all_began && now_ns() - all_began >= warm * 1e9) {
      measuring = 1;
      printf("{\"kind\":\"window\"}\n");
      open = now();
    }
    if (window && measuring && now_ns() - open.at >= window * 1e9) {
      end = now();
      measuring = 0;
      if (done) die("%ld runs were over before the window: more events are needed", done);
      printf("{\"kind\":\"window_over\"}\n");
    }
    print_progress();
  }
  if (!window) end = now();
  if (!end.at) die("the runs were over before the window: more events are needed");
  if (!measured && gone) return; /* everybody went away, and was told of */
  if (!measured) die("no event came in the time that is measured: the server cannot keep up with this rate");
  measuring = 0;
  double seconds = (end.at - open.at) / 1e9, own = end.own - open.own;
  if (number > 1) lasted += seconds;
  qsort(latencies, stamped, sizeof *latencies, by_size);
  printf("{\"kind\":\"round\",\"number\":%d,\"events\":%ld,\"seconds\":%.6f,\"server_cpu\":%.6f,\"busy\":%.3f,\"waited\":%.3f,\"faults\":%ld,"
         "\"frames\":%ld,\"p50\":%u,\"p90\":%u,\"p99\":%u,\"p999\":%u,\"longest\":%u,\"resident_kb\":%ld,\"held\":%d,"
         "\"lost\":%ld,\"gone\":%ld,\"histogram\":", number, window || input || gone ? measured : (users - apart) * events, seconds,
         end.server - open.server, own / seconds, (end.waited - open.waited) / seconds, faults, frames, quantile(.5), quantile(.9), quantile(.99), quantile(.999),
         quantile(1), resident_kb(), holding, lost, gone);
  print_histogram();
  printf(",\"each_cpu\":[");
  for (int i = 0; i < pids; i++) printf("%s%.6f", i ? "," : "", end.each[i] - open.each[i]);
  printf("]}\n");
}

/* Cut everybody off in the middle of a run, and let all come back at once when it has gone on without them for a while. */
static void run_storm(int number) {
  char id[16];
  snprintf(id, sizeof id, "s%d", number);
  start_runs(id, users);
  while (begun + gone < users - apart)
    if (!pump(SILENCE_MS)) die("%ld of %d runs began, then nothing", begun, users - apart);
  long seen = counted;
  for (user *u = all; u < all + users; u++) {
    if (u->fd >= 0) close(u->fd);
    u->fd = -1;
    u->state = CLOSED;
  }
  usleep(away_ms * 1000);
  moment start = now();
  double seconds = connect_all();
  moment all_live = now();
  while (!all_done())
    if (!pump(SILENCE_MS)) die("%ld of %ld events came after the storm, then nothing", counted, wanted());
  moment end = now();
  printf("{\"kind\":\"storm\",\"users\":%d,\"seconds\":%.6f,\"caught_up\":%.6f,\"server_cpu\":%.6f,\"busy\":%.3f,"
         "\"missed\":%ld,\"retried\":%ld,\"recovered\":%ld,\"resets\":%ld,\"faults\":%ld}\n", users, seconds, (end.at - start.at) / 1e9,
         all_live.server - start.server, (all_live.own - start.own) / seconds, counted - seen, retried, recovered, resets, faults);
}

static void read_tokens(void) {
  FILE *file = tokens ? fopen(tokens, "r") : NULL;
  if (tokens && !file) die("%s: %s", tokens, strerror(errno));
  char line[4096];
  for (user *u = all; u < all + users; u++) {
    if (!file)
      snprintf(line, sizeof line, "user-%d", u->number);
    else if (!fgets(line, sizeof line, file))
      die("%s has fewer tokens than there are users", tokens);
    line[strcspn(line, "\n")] = 0;
    u->token = strdup(line);
  }
  if (file) fclose(file);
}

static void read_options(int count, char **words) {
  static const struct option known[] = {
      {"port", 1, 0, 'p'},       {"pid", 1, 0, 'i'},        {"users", 1, 0, 'u'},       {"events", 1, 0, 'e'},
      {"rate", 1, 0, 'r'},       {"rounds", 1, 0, 'n'},     {"agent", 1, 0, 'a'},       {"stamp", 1, 0, 's'},
      {"path", 1, 0, 'w'},       {"dialect", 1, 0, 'd'},    {"ramp", 1, 0, 'R'},        {"storm", 1, 0, 'x'},
      {"host", 1, 0, 'h'},       {"input", 1, 0, 'I'},      {"tokens", 1, 0, 'T'},      {"warm", 1, 0, 'W'},
      {"window", 1, 0, 'V'},     {"apart", 1, 0, 'A'},      {"apart-events", 1, 0, 'E'}, {"apart-rate", 1, 0, 'F'},
      {"apart-bytes", 1, 0, 'B'}, {"alternate", 0, 0, 'L'}, {"tolerant", 0, 0, 't'},    {"cut", 0, 0, 'C'},
      {"keep", 0, 0, 'K'},
      {"away", 1, 0, 'y'},       {"opening", 1, 0, 'o'},    {"lasting", 1, 0, 'l'},
      {"spin", 0, 0, 'S'},       {0, 0, 0, 0}};
  for (int letter; (letter = getopt_long(count, words, "", known, NULL)) != -1;) switch (letter) {
      case 'p':
        for (char *one = strtok(optarg, ","); one && ports < MAX_PIDS; one = strtok(NULL, ",")) port[ports++] = atoi(one);
        break;
      case 'u': users = atoi(optarg); break;
      case 'e': events = atol(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 'n': rounds = atoi(optarg); break;
      case 'a': agent = optarg; break;
      case 's': stamp = optarg; break;
      case 'w': path = optarg; break;
      case 'h': host = optarg; break;
      case 'R': ramp = atoi(optarg); break;
      case 'I': input = optarg; break;
      case 'T': tokens = optarg; break;
      case 'l': lasting = atof(optarg); break;
      case 'W': warm = atof(optarg); break;
      case 'V': window = atof(optarg); break;
      case 'A': apart = atoi(optarg); break;
      case 'E': apart_events = atol(optarg); break;
      case 'F': apart_rate = atof(optarg); break;
      case 'B': apart_bytes = atol(optarg); break;
      case 'L': alternate = 1; break;
      case 't': tolerant = 1; break;
      case 'C': cut = 1; break;
      case 'K': keep = 1; break;
      case 'S': spin = 1; break;
      case 'y': away_ms = atol(optarg); break;
      case 'o': opening_at_once = atoi(optarg); break;
      case 'x': storm = atoi(optarg); break;
      case 'd': dialect = !strcmp(optarg, "sio") ? SIO : !strcmp(optarg, "plain") ? PLAIN : GREENROOM; break;
      case 'i':
        for (char *pid = strtok(optarg, ","); pid && pids < MAX_PIDS; pid = strtok(NULL, ",")) server[pids++] = atol(pid);
        break;
      default: die("usage: see the top of the source");
    }
  if (!*stamp) stamp = strcmp(agent, "custom") ? "\"text\":\"" : "\"at\":[";
  if (!ports || users < 1 || apart >= users) die("usage: --port P --users N, more users than --apart");
  holding = apart && apart_bytes >= 0 && !alternate;
}

int main(int count, char **words) {
  read_options(count, words);
  setvbuf(stdout, NULL, _IOLBF, 0);
  signal(SIGPIPE, SIG_IGN);
  snprintf(run_tag, sizeof run_tag, "%d", getpid());
  epoll = epoll_create1(0);
  all = calloc(users, sizeof *all);
  for (int i = 0; i < users; i++) all[i] = (user){.fd = -1, .number = i, .apart = i < apart, .buffer = malloc(BUFFER)};
  read_tokens();
  long before = resident_kb();
  double cpu = server_cpu();
  double seconds = connect_all();
  usleep(400000); /* until the server has done what it does after a welcome */
  printf("{\"kind\":\"connected\",\"users\":%d,\"seconds\":%.6f,\"retried\":%ld,\"server_cpu\":%.6f,\"kb_per_user\":%.2f}\n", users, seconds,
         retried, server_cpu() - cpu, (double)(resident_kb() - before) / users);
  for (int number = 1; (number <= rounds || lasted < lasting) && gone < users - apart; number++) {
    run_round(number);
    usleep(100000);
  }
  for (int number = 0; number < storm && gone < users - apart; number++) {
    run_storm(number);
    usleep(300000);
  }
  return 0;
}
