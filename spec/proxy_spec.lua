-- src/proxy: what a proxy is, and which one the environment names.

local helper = require "spec.helper"
local proxy = require("lunawire.probe").proxy

describe("a proxy's URL", function()
  local right = { -- text, what it is called, host, port, kind, secure
    { "http://proxy:3128", "http://proxy:3128", "proxy", 3128, "http", false },
    { "http://proxy", "http://proxy:80", "proxy", 80, "http", false },
    { "http://proxy/", "http://proxy:80", "proxy", 80, "http", false },
    { "http://proxy:", "http://proxy:80", "proxy", 80, "http", false },
    { "https://proxy", "https://proxy:443", "proxy", 443, "http", true },
    { "HTTPS://Proxy.Example:8443/", "https://proxy.example:8443", "proxy.example", 8443, "http", true },
    { "socks5://proxy", "socks5://proxy:1080", "proxy", 1080, "socks", false },
    { "socks5h://proxy:9050", "socks5://proxy:9050", "proxy", 9050, "socks", false },
    { "socks://proxy", "socks5://proxy:1080", "proxy", 1080, "socks", false },
    { "proxy:3128", "http://proxy:3128", "proxy", 3128, "http", false },
    { "proxy", "http://proxy:80", "proxy", 80, "http", false },
    { "192.0.2.1:3128", "http://192.0.2.1:3128", "192.0.2.1", 3128, "http", false },
    { "[::1]:3128", "http://[::1]:3128", "::1", 3128, "http", false },
    { "socks5://[2001:DB8:0::1]", "socks5://[2001:db8::1]:1080", "2001:db8::1", 1080, "socks", false },
    { "http://proxy.:1", "http://proxy.:1", "proxy.", 1, "http", false },
    { "http://" .. ("abcdefg."):rep(31) .. "abcde:65535", "http://" .. ("abcdefg."):rep(31) .. "abcde:65535",
      ("abcdefg."):rep(31) .. "abcde", 65535, "http", false },
  }
  for _, case in ipairs(right) do
    it("is understood: " .. case[1]:sub(1, 50), function()
      local got, err = proxy.parse(case[1])
      assert.is_nil(err)
      assert.same({ href = case[2], host = case[3], port = case[4], kind = case[5], secure = case[6] }, got)
      assert.same(got, proxy.parse(got.href)) -- and is called what it is
    end)
  end

  local credentials = { -- text, user, password
    { "http://user:pass@proxy:1", "user", "pass" },
    { "user:pass@proxy:1", "user", "pass" },
    { "socks5://user@proxy:1", "user", "" },
    { "http://:pass@proxy:1", "", "pass" },
    { "http://us%65r:p%40ss%2f%3A@proxy:1", "user", "p@ss/:" },
    { "socks5://a@b:c:d@e@proxy:1", "a@b", "c:d@e" },
    { "http://@proxy:1", nil, nil },
    { "socks5://:@proxy:1", nil, nil },
    { "socks5://" .. ("u"):rep(255) .. ":" .. ("p"):rep(255) .. "@proxy:1", ("u"):rep(255), ("p"):rep(255) },
    { "http://" .. ("u"):rep(300) .. ":" .. ("p"):rep(300) .. "@proxy:1", ("u"):rep(300), ("p"):rep(300) },
  }
  for _, case in ipairs(credentials) do
    it("has credentials that its name does not show: " .. case[1]:sub(1, 50), function()
      local got = assert(proxy.parse(case[1]))
      assert.equal(case[2], got.user)
      assert.equal(case[3], got.password)
      assert.matches("^%w+://proxy:1$", got.href)
    end)
  end

  local wrong = {
    { "URL_EMPTY", "" },
    { "PROXY_SCHEME", "ftp://proxy", "socks4://proxy", "socks4a://proxy", "ws://proxy", "://proxy", "socks6://proxy", "x://" },
    { "PROXY_PATH", "http://proxy/path", "http://proxy//", "http://proxy?", "http://proxy#", "http://proxy:1/?q", "proxy/x",
      "http://user:p/ss@proxy", "http://user:p#ss@proxy", "http:/proxy", "http://proxy\\", "http://proxy/#" },
    { "PROXY_CREDENTIALS", "socks5://:pass@proxy", "socks5://" .. ("u"):rep(256) .. "@proxy",
      "socks5://u:" .. ("p"):rep(256) .. "@proxy" },
    { "URL_HOST", "http://", "http:///", "http://:3128", "socks5://user@" },
    { "URL_PORT", "http://proxy:0", "http://proxy:65536", "http://proxy:x", "proxy:-1", "http://proxy:1:2", "user:pass" },
    { "URL_BYTE", "http://pro xy", "http://proxy\r\n", "http://proxy\0", " http://proxy", "\127" },
    { "URL_IPV6", "http://[::1", "http://[::g]:1", "http://[::1%25lo]" },
    { "URL_IPV4", "http://1.2.3", "http://256.1.1.1:1" },
    { "URL_USERINFO", "http://us%0der:pass@proxy", "http://u%3Aser:x@proxy", "socks5://u:p%00ss@proxy" },
    { "URL_HOST_BYTE", "http://pro|xy", "http://[::1]x" },
    { "URL_IDNA", "http://pröxy" },
    { "URL_HOST_SIZE", "http://" .. ("a"):rep(64), "http://" .. ("a."):rep(127) .. "aa" },
    { "URL_LENGTH", "http://" .. ("u"):rep(8192) .. "@proxy" },
  }
  for _, row in ipairs(wrong) do
    for i = 2, #row do
      it(("is refused: %q (%s)"):format(row[i]:sub(1, 40), row[1]), function()
        local got, err = proxy.parse(row[i])
        assert.is_nil(got)
        assert.equal(row[1], err)
      end)
    end
  end
end)

describe("the environment", function()
  local function chosen(url, environment)
    local got, err, variable = proxy.choose(url, environment)
    assert.is_nil(err, variable)
    return got and got.href
  end

  local every = {
    http_proxy = "http://a:1", https_proxy = "http://b:2", HTTPS_PROXY = "http://c:3", HTTP_PROXY = "http://d:4",
    all_proxy = "socks5://e:5", ALL_PROXY = "http://f:6",
  }
  local function with(...)
    local some = {}
    for _, name in ipairs { ... } do some[name] = every[name] end
    return some
  end

  it("names a proxy for ws", function()
    assert.equal("http://a:1", chosen("ws://h/", every))
    assert.equal("socks5://e:5", chosen("ws://h/", with("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")))
    assert.equal("http://f:6", chosen("ws://h/", with "ALL_PROXY"))
    assert.is_false(chosen("ws://h/", with("https_proxy", "HTTPS_PROXY")))
    assert.is_false(chosen("ws://h/", {}))
  end)

  it("names none by HTTP_PROXY, which a guest of a CGI program can set", function()
    assert.is_false(chosen("ws://h/", with "HTTP_PROXY"))
    assert.is_false(chosen("wss://h/", with "HTTP_PROXY"))
  end)

  it("names a proxy for wss", function()
    assert.equal("http://b:2", chosen("wss://h/", every))
    assert.equal("http://c:3", chosen("wss://h/", with("HTTPS_PROXY", "http_proxy", "all_proxy")))
    assert.equal("socks5://e:5", chosen("wss://h/", with("http_proxy", "all_proxy", "ALL_PROXY")))
    assert.is_false(chosen("wss://h/", with "http_proxy"))
  end)

  it("says nothing by an empty variable", function()
    assert.equal("socks5://e:5", chosen("ws://h/", { http_proxy = "", all_proxy = every.all_proxy }))
    assert.equal("http://c:3", chosen("wss://h/", { https_proxy = "", HTTPS_PROXY = every.HTTPS_PROXY }))
    assert.is_false(chosen("ws://h/", { http_proxy = "", all_proxy = "" }))
    assert.equal("http://a:1", chosen("ws://h/", { http_proxy = "a:1", no_proxy = "" }))
  end)

  it("gives a proxy its credentials", function()
    local got = proxy.choose("ws://h/", { http_proxy = "socks5h://me:se%63ret@a" })
    assert.same({ "me", "secret", "socks5://a:1080" }, { got.user, got.password, got.href })
  end)

  it("that is broken is an error that names the variable", function()
    for variable, url in pairs { http_proxy = "ws://h/", https_proxy = "wss://h/", ALL_PROXY = "ws://h/" } do
      local got, err, name = proxy.choose(url, { [variable] = "socks4://a:1" })
      assert.is_nil(got)
      assert.equal("PROXY_SCHEME", err)
      assert.equal(variable, name)
    end
    -- even if another would do: who wrote it meant it
    local got, err, name = proxy.choose("ws://h/", { http_proxy = "a:0", all_proxy = "socks5://b" })
    assert.same({ [2] = "URL_PORT", [3] = "http_proxy" }, { got, err, name })
  end)

  it("that is broken harms nobody who does not use it", function()
    assert.is_false(chosen("ws://localhost/", { http_proxy = "a:0" }))
    assert.is_false(chosen("ws://h/", { http_proxy = "a:0", no_proxy = "h" }))
    assert.is_false(chosen("ws://h/", { https_proxy = "a:0" }))
  end)

  it("sends nothing for this machine elsewhere", function()
    for _, host in ipairs { "localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.localhost.", "127.0.0.1", "127.255.1.2",
      "[::1]", "[::ffff:127.0.0.1]" } do
      assert.is_false(chosen("ws://" .. host .. ":81/", every), host)
      assert.is_false(chosen("wss://" .. host .. "/", every), host)
    end
    for _, host in ipairs { "localhost.example", "notlocalhost", "128.0.0.1", "[::2]", "[::ffff:128.0.0.1]", "0.0.0.0" } do
      assert.equal("http://a:1", chosen("ws://" .. host .. ":81/", every), host)
    end
  end)

  local lists = { -- no_proxy, those it names, those it does not
    { "*", { "a", "10.0.0.1", "[2001:db8::1]:99" }, {} },
    { "x, *", { "a" }, {} },
    { "example.org", { "example.org", "a.example.org", "a.b.EXAMPLE.org", "example.org.", "example.org:81" },
      { "notexample.org", "example.org.uk", "org", "example.com", "exampleXorg" } },
    { ".example.org", { "example.org", "a.example.org" }, { "notexample.org" } },
    { "*.Example.ORG", { "example.org", "a.example.org" }, { "notexample.org" } },
    { "example.org.", { "example.org", "a.example.org." }, { "org" } },
    { "a.org,b.org c.org\tD.org , ,,e.org", { "a.org", "b.org", "c.org", "d.org", "e.org" }, { "f.org" } },
    { "example.org:81", { "example.org:81", "a.example.org:81" }, { "example.org", "example.org:82" } },
    { ".example.org:80", { "example.org", "example.org:80" }, { "example.org:81" } },
    { "192.0.2.1", { "192.0.2.1", "192.0.2.1:81", "[::ffff:192.0.2.1]" }, { "192.0.2.2", "192.0.2.10", "x192.0.2.1.example" } },
    { "192.0.2.1:81", { "192.0.2.1:81" }, { "192.0.2.1" } },
    { "10.0.0.0/8", { "10.1.2.3", "10.255.0.1:99" }, { "11.0.0.1", "a", "10.example" } },
    { "10.0.0.0/8:81", { "10.0.0.1:81" }, { "10.0.0.1" } },
    { "2001:db8::/32", { "[2001:db8::1]", "[2001:db8:ffff::]:81" }, { "[2001:db9::1]", "10.0.0.1" } },
    { "2001:DB8::1", { "[2001:db8::1]:5", "[2001:db8:0::1]" }, { "[2001:db8::2]" } },
    { "[2001:db8::1]", { "[2001:db8::1]:5" }, { "[2001:db8::2]" } },
    { "[2001:db8::1]:81", { "[2001:db8::1]:81" }, { "[2001:db8::1]" } },
    -- what has no meaning names nobody
    { ". .. , : [ ] [] [:: [::1]x [::1]: a:b a:0 a:65536 a: 10.0.0.0/33 10.0.0.0/ 10.* <local> ** org*", {},
      { "a", "b.org", "10.0.0.1", "local" } },
  }
  for _, case in ipairs(lists) do
    it(("does not use it for no_proxy=%q"):format(case[1]), function()
      for _, name in ipairs { "no_proxy", "NO_PROXY" } do
        for _, host in ipairs(case[2]) do
          assert.is_false(chosen("ws://" .. host .. "/", { http_proxy = "a:1", [name] = case[1] }), host)
        end
        for _, host in ipairs(case[3]) do
          assert.equal("http://a:1", chosen("ws://" .. host .. "/", { http_proxy = "a:1", [name] = case[1] }), host)
        end
      end
    end)
  end

  it("prefers no_proxy to NO_PROXY", function()
    assert.is_false(chosen("ws://h/", { http_proxy = "a:1", no_proxy = "h", NO_PROXY = "i" }))
    assert.equal("http://a:1", chosen("ws://i/", { http_proxy = "a:1", no_proxy = "h", NO_PROXY = "i" }))
  end)

  -- curl and we agree where curl is clear; it is asked for http and told by its connection which way it went
  it("is read as curl reads it #foreign", function()
    if helper.run "command -v curl" == "" then return pending "needs curl" end
    local cases = {
      { "http://nobody.example/", "http_proxy=127.0.0.1:9" }, { "http://nobody.example/", "HTTP_PROXY=127.0.0.1:9" },
      { "http://nobody.example/", "all_proxy=127.0.0.1:9" }, { "http://nobody.example/", "ALL_PROXY=127.0.0.1:9" },
      { "https://nobody.example/", "HTTPS_PROXY=127.0.0.1:9" }, { "https://nobody.example/", "http_proxy=127.0.0.1:9" },
      { "http://nobody.example/", "http_proxy=127.0.0.1:9 no_proxy=.example" },
      { "http://nobody.example/", "http_proxy=127.0.0.1:9 no_proxy=body.example" },
      { "http://nobody.example/", "http_proxy=127.0.0.1:9 no_proxy=nobody.example." },
      { "http://nobody.example/", "http_proxy=127.0.0.1:9 NO_PROXY=a,example" },
      { "http://nobody.example/", "http_proxy= all_proxy=127.0.0.1:9" },
    }
    for _, case in ipairs(cases) do
      local environment = {}
      for name, value in case[2]:gmatch "(%S+)=(%S*)" do environment[name] = value end
      local output = helper.run(("env -i PATH=\"$PATH\" %s curl -sv --max-time 5 %s %s"):format(case[2],
        "--resolve '*:80:127.0.0.2' --resolve '*:443:127.0.0.2'", case[1]))
      local through = output:match "127%.0%.0%.1:9" or output:match "127%.0%.0%.1 port 9"
      assert.equal(through ~= nil, chosen(case[1], environment) ~= false, case[2] .. "\n" .. output)
    end
  end)
end)
