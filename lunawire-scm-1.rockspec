rockspec_format = "3.0"
package = "lunawire"
version = "scm-1"

source = {
  url = "git+https://github.com/lunawire/lunawire.git",
  branch = "main",
}

description = {
  summary = "WebSockets for Lua, as in the browser",
  detailed = [[
    WebSocket clients and servers with the browser's API on a core in C: its own event loop, framing,
    handshake and timers, TLS by OpenSSL. Nothing blocks, and a handler may do what it likes.
  ]],
  homepage = "https://github.com/lunawire/lunawire",
  issues_url = "https://github.com/lunawire/lunawire/issues",
  license = "MIT",
  labels = { "websocket", "network", "async", "server", "client" },
}

supported_platforms = { "unix" }

dependencies = {
  "lua >= 5.4, < 5.5",
}

external_dependencies = {
  OPENSSL = { header = "openssl/ssl.h", library = "ssl" },
  CRYPTO = { header = "openssl/crypto.h", library = "crypto" },
  ZLIB = { header = "zlib.h", library = "z" },
}

build = {
  type = "builtin",
  modules = {
    ["lunawire"] = "lua/lunawire/init.lua",
    ["lunawire.backoff"] = "lua/lunawire/backoff.lua",
    ["lunawire.heartbeat"] = "lua/lunawire/heartbeat.lua",
    ["lunawire.occasion"] = "lua/lunawire/occasion.lua",
    ["lunawire.option"] = "lua/lunawire/option.lua",
    ["lunawire.outbox"] = "lua/lunawire/outbox.lua",
    ["lunawire.reconnect"] = "lua/lunawire/reconnect.lua",
    ["lunawire.reliable"] = "lua/lunawire/reliable.lua",
    ["lunawire.reliable_client"] = "lua/lunawire/reliable_client.lua",
    ["lunawire.reliable_hub"] = "lua/lunawire/reliable_hub.lua",
    ["lunawire.reliable_link"] = "lua/lunawire/reliable_link.lua",
    ["lunawire.target"] = "lua/lunawire/target.lua",
    ["lunawire.task"] = "lua/lunawire/task.lua",
    ["lunawire.core"] = {
      sources = {
        "src/authority.c",
        "src/body.c",
        "src/buf.c",
        "src/cidr.c",
        "src/conn.c",
        "src/crypt.c",
        "src/deflate.c",
        "src/err.c",
        "src/forwarded.c",
        "src/frame.c",
        "src/handshake.c",
        "src/heartbeat.c",
        "src/http.c",
        "src/ip.c",
        "src/loop.c",
        "src/lua_blob.c",
        "src/lua_box.c",
        "src/lua_buffer.c",
        "src/lua_check.c",
        "src/lua_client.c",
        "src/lua_event.c",
        "src/lua_guest.c",
        "src/lua_init.c",
        "src/lua_loop.c",
        "src/lua_option.c",
        "src/lua_policy.c",
        "src/lua_server.c",
        "src/lua_settings.c",
        "src/lua_socket.c",
        "src/lua_step.c",
        "src/lua_timer.c",
        "src/lua_tls.c",
        "src/mask.c",
        "src/net.c",
        "src/outgoing.c",
        "src/pen.c",
        "src/poll.c",
        "src/poll_epoll.c",
        "src/poll_kqueue.c",
        "src/poll_poll.c",
        "src/proxy.c",
        "src/redirect.c",
        "src/reel.c",
        "src/resolve.c",
        "src/route.c",
        "src/server.c",
        "src/session.c",
        "src/sig.c",
        "src/stream.c",
        "src/sys.c",
        "src/text.c",
        "src/timer.c",
        "src/tls.c",
        "src/tls_context.c",
        "src/tunnel.c",
        "src/upgrade.c",
        "src/url.c",
        "src/utf8.c",
      },
      libraries = { "ssl", "crypto", "z", "pthread" },
      incdirs = { "$(OPENSSL_INCDIR)", "$(CRYPTO_INCDIR)", "$(ZLIB_INCDIR)" },
      libdirs = { "$(OPENSSL_LIBDIR)", "$(CRYPTO_LIBDIR)", "$(ZLIB_LIBDIR)" },
    },
  },
  platforms = {
    linux = {
      modules = {
        ["lunawire.core"] = { libraries = { "ssl", "crypto", "z", "pthread", "dl" } },
      },
    },
  },
}

test_dependencies = {
  "busted >= 2.0",
}

test = {
  type = "busted",
}
