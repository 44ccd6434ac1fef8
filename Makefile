# lunawire -- WebSockets for Lua.  `make help` lists the targets.

LUA     ?= $(shell for l in lua5.4 lua54 lua; do \
	$$l -e 'assert(_VERSION == "Lua 5.4")' 2>/dev/null && echo $$l && exit; done; echo lua5.4)
CFLAGS  ?= -O2 -g
WERROR  ?= -Werror
PREFIX  ?= /usr/local
BUILD   ?= build
PORT    ?= 8080
SPECS   ?=
SEED    ?=
RUNS    ?=
SECONDS ?= $(if $(RUNS),0,60)
JOBS    ?= 3

# One directory for one set of compiler and flags: sanitizers build beside the normal build
# (`make BUILD=build-asan CFLAGS=...`). A change of flags in the same directory rebuilds it.

SOURCES  := $(wildcard src/*.c)
PROBE    := $(wildcard spec/probe/*.c)
SIM      := $(wildcard sim/*.c)
OBJECTS   = $(SOURCES:%.c=$(BUILD)/obj/%.o)
BELOW_LUA = $(filter-out $(BUILD)/obj/src/lua_%,$(OBJECTS))
PROBE_OBJECTS = $(PROBE:%.c=$(BUILD)/obj/%.o)
SIM_OBJECTS = $(SIM:%.c=$(BUILD)/obj/%.o)
CORE      = $(BUILD)/lunawire/core.so
PROBE_SO  = $(if $(PROBE),$(BUILD)/lunawire/probe.so)
SIM_CORE  = $(BUILD)/sim/lunawire/core.so
SIM_HERE  = $(if $(filter Linux,$(shell uname -s)),sim)

# --- what the compiler is told ------------------------------------------------------------

# Lua's version, its headers by pkg-config under any of the usual names, OpenSSL's and zlib's.
LUA_V     := $(or $(shell $(LUA) -e 'io.write((_VERSION:gsub("Lua ", "")))' 2>/dev/null),5.4)
LUA_NAMES := lua$(LUA_V) lua$(subst .,,$(LUA_V)) lua-$(LUA_V) lua
pkg_config = $(shell for p in $(2); do pkg-config $(1) $$p 2>/dev/null && exit; done)
LUA_CFLAGS := $(or $(call pkg_config,--cflags,$(LUA_NAMES)),-I/usr/include/lua$(LUA_V))
LIB_CFLAGS := $(call pkg_config,--cflags,"openssl zlib")
LIB_LDFLAGS := $(call pkg_config,--libs-only-L,"openssl zlib")

WARN     = -Wall -Wextra -Wconversion -Wshadow $(WERROR)
COMPILE  = $(CC) -std=gnu11 -fPIC $(WARN) $(CFLAGS) $(CPPFLAGS) $(LUA_CFLAGS) $(LIB_CFLAGS)
LIBS     = $(LIB_LDFLAGS) -lssl -lcrypto -lz -lpthread -ldl
ifeq ($(shell uname -s),Darwin)
SHARED   = -bundle -undefined dynamic_lookup
else
SHARED   = -shared
endif

# How install.sh looks for things: with the same interpreter, compiler and directories.
INSTALL = LUA='$(LUA)' CC='$(CC)' CPPFLAGS='$(CPPFLAGS) $(LUA_CFLAGS) $(LIB_CFLAGS)' tools/install.sh
# The same, but silent unless V=1 asks to see each command.
Q    = $(if $(V),,@)
SAY  = $(if $(V),@:,@printf '  %-4s %s\n')
MAKE_QUIETLY = $(MAKE) --no-print-directory
COMPILING = $(MAKE_QUIETLY) -j $(JOBS)

, = ,

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# --- building -------------------------------------------------------------------------------

.PHONY: all core probe sim
all: core                ## build build/lunawire/core.so (V=1 shows the commands)
core: $(CORE)
	@:
probe: $(PROBE_SO)
	@:
sim: $(SIM_CORE)         ## the library over a system in memory, for what sim/ has
	@:

$(CORE): $(OBJECTS)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LIBS)

# For specs only: floors 0 to 3, driven directly from Lua.
$(BUILD)/lunawire/probe.so: $(PROBE_OBJECTS) $(BELOW_LUA)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) -o $@ $(PROBE_OBJECTS) $(BELOW_LUA) $(LIBS)

# The core over a system in memory, which takes the place of sys.c; memory is counted and may run out.
WRAPPED = $(patsubst %,-Wl$(,)--wrap=%,malloc calloc realloc free strdup strndup)
$(SIM_CORE): $(OBJECTS) $(SIM_OBJECTS)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(SHARED) $(CFLAGS) $(LDFLAGS) $(WRAPPED) -Wl,--wrap=pthread_create,--wrap=RAND_bytes -o $@ \
		$(filter-out %/src/sys.o,$^) $(LIBS)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(SAY) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(UNSEEN) -iquote src -MMD -MP -c -o $@ $<

# Changes when the command line does; written only when compiler and headers are all here.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(COMPILE)' | cmp -s - $@ || { $(INSTALL) --check build && echo '$(COMPILE)' > $@; }

.PHONY: FORCE
FORCE:

-include $(OBJECTS:.o=.d) $(PROBE_OBJECTS:.o=.d) $(SIM_OBJECTS:.o=.d)

# --- using ----------------------------------------------------------------------------------

.PHONY: env chat chat-client ready-chat
env:                     ## print what `eval "$(make -s env)"` needs to use this checkout
	@echo '$(subst ','"'"',export $(HERE))'

# This tree before whatever the caller's paths say, or Lua's default paths (";;").
HERE = LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;'"$${LUA_PATH:-;}" \
	LUA_CPATH='$(abspath $(BUILD))/?.so;'"$${LUA_CPATH:-;}"

# The server must be this make's own child, with no shell and no second make between: then
# Ctrl-C ends it, it says goodbye and exits 0, and make has nothing to complain of.
chat: ready-chat         ## install what is missing, build, run the chat room on PORT (8080)
	@$(HERE) exec $(LUA) examples/chat/server.lua $(PORT)

chat-client: ready-chat  ## the chat room's terminal client, for the server on PORT
	@$(HERE) exec $(LUA) examples/chat/client.lua ws://127.0.0.1:$(PORT)/

ready-chat:
	@$(INSTALL) build chat
	@$(MAKE_QUIETLY) core

.PHONY: deps install
deps:                    ## install what building takes: compiler, Lua, headers
	@$(INSTALL) build

install: core            ## install into PREFIX (/usr/local), under DESTDIR if that is set
	install -d '$(DESTDIR)$(PREFIX)/lib/lua/$(LUA_V)/lunawire' '$(DESTDIR)$(PREFIX)/share/lua/$(LUA_V)/lunawire'
	install -m 755 $(CORE) '$(DESTDIR)$(PREFIX)/lib/lua/$(LUA_V)/lunawire/'
	install -m 644 lua/lunawire/*.lua '$(DESTDIR)$(PREFIX)/share/lua/$(LUA_V)/lunawire/'

# --- testing --------------------------------------------------------------------------------

# A Python that has the websockets package; the first on the PATH may not.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do \
	$$p -c 'import websockets' 2>/dev/null && command -v $$p && exit; done; echo python3)

# One run of the specs, JOBS files at a time: $(call specs,BUILD DIRECTORY,BUSTED OPTIONS AND FILES)
specs = LUNAWIRE_BUILD='$(abspath $(1))' PYTHON='$(PYTHON)' LUA='$(LUA)' JOBS='$(JOBS)' tools/specs.sh $(2)
PACKAGES = spec/node_modules/.package-lock.json

.PHONY: test torture ready-test packages bench
test: ready-test         ## install what is missing, build, run the specs (only SPECS if given)
	@$(call specs,$(BUILD),$(SPECS))

# The files spec/torture/*_torture.lua; SEED=n begins its random cases there, as a failure says.
torture: JOBS = 1
torture: ready-test      ## what takes minutes: faults and kills by the hundred (SPECS, SEED=n)
	@SEED='$(SEED)' $(call specs,$(BUILD),--pattern=_torture $(or $(SPECS),spec/torture))

ready-test:
	@$(INSTALL) build chat test
	@$(COMPILING) core probe $(SIM_HERE) packages

packages: $(PACKAGES)
	@:

$(PACKAGES): spec/package.json spec/package-lock.json
	cd spec && npm ci --no-audit --no-fund --prefer-offline --loglevel=error
	@touch $@

bench: ready-test        ## measure against the peers that are installed
	@$(MAKE_QUIETLY) -C bench LUA='$(LUA)'

# --- simulation -------------------------------------------------------------------------------

OVER_SIM = LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;' LUA_CPATH='$(abspath $(BUILD))/sim/?.so;;'
FIRST ?= 1
LAST  ?= 1000

.PHONY: simulate mutants
simulate: sim            ## lives over a system in memory, of the seeds FIRST (1) to LAST (1000); TRACE=1 tells of them
	@$(OVER_SIM) $(LUA) sim/simulate.lua '$(FIRST)' '$(LAST)'

mutants:                 ## break the code in many ways, one after the other: the simulation must see each
	@LUA='$(LUA)' $(LUA) sim/mutants.lua

# --- fuzzing --------------------------------------------------------------------------------

# One fuzzer for each file of fuzz/, over what is below Lua; fuzz.c is what they share. `loop` has the world of
# sim/ in place of the system: of that world, no ways are worth an input.
FUZZERS = $(patsubst fuzz/%.c,%,$(filter-out fuzz/fuzz.c,$(wildcard fuzz/*.c)))
# Without hints about what is compared: twice as many executions find more, and words are in dictionaries.
FUZZ_CFLAGS = -O2 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-coverage=trace-cmp -fno-sanitize-recover=undefined

# For SECONDS (60) or RUNS executions each, JOBS (1) side by side; build-fuzz/runs/ has the sums.
.PHONY: fuzz fuzzers fuzz-coverage
fuzz: JOBS = 1
fuzz:                    ## fuzz what parses a peer's bytes, each FUZZERS for SECONDS (60) or RUNS; findings go to fuzz/findings/
	@$(INSTALL) build check
	@$(COMPILING) BUILD=build-fuzz CC=clang CFLAGS='$(FUZZ_CFLAGS)' fuzzers
	@LUA='$(LUA)' JOBS='$(JOBS)' fuzz/run.sh build-fuzz '$(SECONDS)' '$(or $(RUNS),0)' $(FUZZERS)

# Of the files of FLOORS, what the corpora and the seeds reach.
FLOORS = 01
FUZZ_COUNTED = -O1 -g -fsanitize=fuzzer-no-link,address -fprofile-instr-generate -fcoverage-mapping
fuzz-coverage:           ## what the fuzzers' inputs so far reach of the files of FLOORS (01)
	@$(INSTALL) build check
	@$(MAKE_QUIETLY) BUILD=build-coverage CC=clang CFLAGS='$(FUZZ_COUNTED)' fuzzers
	@LUA='$(LUA)' fuzz/coverage.sh build-coverage build-fuzz/corpus '$(FLOORS)' $(FUZZERS)

fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/%)
	@:

$(FUZZERS:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(BUILD)/obj/fuzz/%.o $(BUILD)/obj/fuzz/fuzz.o $(BUILD)/obj/sim/memory.o \
		$(BELOW_LUA)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $(WRAPPED) $(FUZZ_LDFLAGS) $(LDFLAGS) -o $@ $(filter-out $(FUZZ_REPLACED),$^) $(LIBS)

$(BUILD)/fuzz/loop: $(BUILD)/obj/sim/world.o
$(BUILD)/fuzz/loop: FUZZ_LDFLAGS = -Wl,--wrap=pthread_create
$(BUILD)/fuzz/loop: FUZZ_REPLACED = %/src/sys.o
$(patsubst %,$(BUILD)/obj/sim/%.o,world memory): UNSEEN = $(if $(findstring fuzzer-no-link,$(CFLAGS)),-fno-sanitize=fuzzer-no-link)

-include $(FUZZERS:%=$(BUILD)/obj/fuzz/%.d) $(BUILD)/obj/fuzz/fuzz.d

# --- checking -------------------------------------------------------------------------------

CHECKS = check-gcc check-clang check-layers check-lua check-cppcheck check-tidy check-symbols \
	check-rockspec check-luas check-asan check-valgrind check-fuzz

.PHONY: check ready-check $(CHECKS)
check: ready-check       ## the longer set: each of the check-... below, one after the other
	@for piece in $(CHECKS); do \
		echo "== $$piece"; $(MAKE_QUIETLY) $$piece || exit 1; \
	done
	@echo "== all checks passed"

ready-check:
	@$(INSTALL) build chat test check
	@$(COMPILING) core probe $(SIM_HERE) packages

check-gcc:               ## gcc, warnings as errors
	@$(COMPILING) BUILD=build-gcc CC=gcc core probe $(SIM_HERE)

check-clang:             ## clang, warnings as errors
	@$(COMPILING) BUILD=build-clang CC=clang core probe $(SIM_HERE)

check-layers:            ## every #include against the table in docs/architecture.md
	@$(LUA) tools/layers.lua

check-lua:               ## luacheck over all Lua files
	@luacheck --quiet --no-color .

# The two suppressed are cppcheck's own: it cannot parse what kqueue's macros give, and takes
# the second look of `if (*at) return *at;` for a mistake.
check-cppcheck:          ## cppcheck over the C files
	@cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=internalAstError:src/poll_kqueue.c --suppress=identicalInnerCondition \
		--error-exitcode=1 $(SOURCES) $(PROBE) $(SIM)

check-tidy:              ## clang-tidy over the C files (.clang-tidy says what for)
	@mkdir -p $(BUILD)
	@printf '%s\n' $(SOURCES) $(PROBE) $(SIM) | xargs -P 2 -n 1 sh -c \
		'clang-tidy --quiet "$$1" -- -std=gnu11 -iquote src $(LUA_CFLAGS) $(LIB_CFLAGS)' - \
		> $(BUILD)/tidy.log 2>&1 || { cat $(BUILD)/tidy.log; exit 1; }

check-symbols: core      ## core.so shows luaopen_* and nothing else
	@nm -D --defined-only $(CORE) | awk '$$3 !~ /^_?luaopen_/ { print "exported: " $$3; bad = 1 } END { exit bad }'

check-rockspec:          ## the rockspec lists what is there, and luarocks builds it
	@$(LUA) tools/rockspec.lua
	@rm -rf build-rock && mkdir build-rock && cp -R src lua lunawire-scm-1.rockspec build-rock/
	@cd build-rock && luarocks --lua-version $(LUA_V) make --deps-mode=none --tree ./t > log 2>&1 || { cat log; exit 1; }
	@cd build-rock && LUA_PATH='./t/share/lua/$(LUA_V)/?.lua;./t/share/lua/$(LUA_V)/?/init.lua' \
		LUA_CPATH='./t/lib/lua/$(LUA_V)/?.so' $(LUA) -e 'print((require "lunawire")._VERSION)'

check-luas:              ## a smoke test under each other Lua that is installed with its headers
	@for lua in lua5.1 lua5.2 lua5.3 lua5.5 luajit; do \
		command -v $$lua > /dev/null && pkg-config --exists $$lua || continue; \
		$(MAKE_QUIETLY) BUILD=build-$$lua LUA=$$lua LUA_CFLAGS="`pkg-config --cflags $$lua`" core || exit 1; \
		LUA_PATH='$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua' LUA_CPATH="$(CURDIR)/build-$$lua/?.so" \
			$$lua spec/luas.lua > build-$$lua/log 2>&1 || { cat build-$$lua/log; exit 1; }; \
		echo "under $$lua: `tail -n 1 build-$$lua/log`"; \
	done

# Stock Lua with the sanitizers' runtime loaded first; what leaks at its end is an error too
# (nodelete: the modules are still there by then, so that traces have names). Lua alone is
# preloaded: the tools around it, mktemp for one, leak.
SANITIZE = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
check-asan:              ## the specs under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(COMPILING) BUILD=build-asan CC=gcc CFLAGS='$(SANITIZE)' LDFLAGS=-Wl,-z,nodelete core probe $(SIM_HERE)
	@RUN="env LD_PRELOAD=`gcc -print-file-name=libasan.so`" \
		ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LSAN_OPTIONS=suppressions='$(CURDIR)/spec/lsan.supp':print_suppressions=0 \
		$(call specs,build-asan,$(SPECS)) > build-asan/log 2>&1 || { cat build-asan/log; exit 1; }
	@echo "under ASan and UBSan: `grep ' passed, ' build-asan/log | tail -n 1`"

# What allocates and frees in every room; the rest, and what starts other programs, is left to
# ASan, which is ten times as fast.
VALGRIND_SPECS = $(patsubst %,spec/%_spec.lua,buf http deflate upgrade session_close timer loop resolve conn stream net \
	websocket_proxy redirect websocket_close websocket_events server_sockets server_topics server_close lua_error lua_gc)
VALGRIND = valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
	--keep-debuginfo=yes
check-valgrind: core probe $(SIM_HERE) ## the quick specs under valgrind
	@RUN='$(VALGRIND)' $(call specs,$(BUILD),--exclude-tags=slow$(,)foreign $(or $(SPECS),$(VALGRIND_SPECS))) \
		> $(BUILD)/valgrind.log 2>&1 || { cat $(BUILD)/valgrind.log; exit 1; }
	@echo "under valgrind: `grep ' passed, ' $(BUILD)/valgrind.log | tail -n 1`"

check-fuzz:              ## each fuzzer for three seconds
	@$(MAKE_QUIETLY) fuzz SECONDS=3 JOBS=2

# --- the rest -------------------------------------------------------------------------------

.PHONY: rockspec reference clean help
rockspec:                ## write the list of C files into the rockspec
	@$(LUA) tools/rockspec.lua --write

reference:               ## write docs/reference.md from types/lunawire.lua
	@$(LUA) tools/reference.lua --write

clean:                   ## remove what was built (installed npm packages stay)
	rm -rf build build-* lunawire src/*.o

help:                    ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: LUA CC CFLAGS WERROR PREFIX DESTDIR BUILD PORT SPECS SEED FIRST LAST JOBS SECONDS RUNS FUZZERS FLOORS V"
