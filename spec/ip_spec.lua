-- src/ip: judged by Python's ipaddress, and by tables.

local helper = require "spec.helper"
local ip = require("lunawire.probe").ip

local addresses = {
  "0.0.0.0", "127.0.0.1", "192.0.2.1", "255.255.255.255", "10.20.30.40", "1.2.3.4",
  "::", "::1", "1::", "2001:db8::1", "2001:DB8:0:0:0:0:2:1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1:0:0:0:1",
  "fe80::1:2", "1:2:3:4:5:6:7:8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
  "64:ff9b::192.0.2.33", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4",
}

local nothing = {
  "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "256.1.1.1", "1.1.1.256", "01.2.3.4", "1.2.3.00",
  "0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "1.2.3.4\0", "1.2.3.4/8", "a.b.c.d", "localhost", "1,2,3,4",
  ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::g", ":1::", "1::2:", "[::1]", "::1%eth0",
  "::1.2.3", "::1.2.3.4.5", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "::01.2.3.4", "1:2:3:4:5:6:7:8::", "::1\0", "::1/128",
}

describe("an address", function()
  it("is read and written as Python does it #foreign", function()
    local script = helper.directory()
    finally(function() helper.remove(script) end)
    helper.write(script .. "/judge.py", [[
import ipaddress, sys
for text in sys.stdin.read().split():
    a = ipaddress.ip_address(text)
    print(text, a.packed.hex(), a.compressed if a.version == 4 or not a.ipv4_mapped else '-')
]])
    helper.write(script .. "/addresses", table.concat(addresses, "\n"))
    local output, status = helper.run(("%s %s/judge.py < %s/addresses"):format(helper.python(), script, script))
    assert.equal(0, status, output)
    local judged = 0
    for text, hex, form in output:gmatch "(%S+) (%S+) (%S+)\n" do
      local bytes = assert(ip.read(text), text)
      assert.equal(hex, (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)), text)
      assert.equal(form, ip.write(text))
      judged = judged + 1
    end
    assert.equal(#addresses, judged)
  end)

  for _, text in ipairs(nothing) do
    it(("is not %q"):format(text), function() assert.is_nil(ip.read(text)) end)
  end

  it("of IPv4 in IPv6's clothes is known as what it is", function()
    assert.equal("192.0.2.1", ip.unmapped "::ffff:192.0.2.1")
    assert.equal("192.0.2.1", ip.unmapped "0:0:0:0:0:FFFF:c000:201")
    for _, other in ipairs { "192.0.2.1", "::1", "::c000:201", "::fffe:c000:201", "::ffff:0:c000:201", "1::ffff:c000:201" } do
      assert.equal(other, ip.unmapped(other))
    end
  end)

  it("is loopback in 127.0.0.0/8 and as ::1", function()
    for _, text in ipairs { "127.0.0.1", "127.255.255.255", "127.0.0.0", "::1", "::ffff:127.1.2.3" } do
      assert.is_true(ip.isLoopback(text), text)
    end
    for _, text in ipairs { "128.0.0.1", "126.255.255.255", "0.0.0.0", "::", "::2", "1::1", "::127.0.0.1", "::ffff:1.0.0.127" } do
      assert.is_false(ip.isLoopback(text), text)
    end
  end)
end)
