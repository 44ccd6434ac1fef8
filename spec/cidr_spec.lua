-- src/cidr: networks of addresses; judged by Python's ipaddress, and by tables.

local helper = require "spec.helper"
local cidr = require("lunawire.probe").cidr

describe("a network", function()
  local right = { -- text, address, bits
    { "10.0.0.0/8", "10.0.0.0", 8 },
    { "0.0.0.0/0", "0.0.0.0", 0 },
    { "192.0.2.1", "192.0.2.1", 32 },
    { "192.0.2.1/32", "192.0.2.1", 32 },
    { "10.1.2.3/8", "10.1.2.3", 8 }, -- bits behind the prefix are not looked at
    { "::1", "::1", 128 },
    { "2001:db8::/32", "2001:db8::", 32 },
    { "::/0", "::", 0 },
    { "::ffff:192.0.2.1", "192.0.2.1", 32 },
    { "::ffff:10.0.0.0/104", "10.0.0.0", 8 },
    { "::ffff:0:0/96", "0.0.0.0", 0 },
    { "::ffff:0:0/95", "::ffff:0:0", 95 }, -- more than IPv4's addresses: of IPv6
  }
  for _, case in ipairs(right) do
    it(("%s is %s and %d bits"):format(case[1], case[2], case[3]), function()
      local address, bits = cidr.parse(case[1])
      assert.equal(case[2], address)
      assert.equal(case[3], bits)
    end)
  end

  local wrong = {
    { "CIDR_ADDRESS", "", "/", "/8", "10/8", "10.0.0/8", "localhost", "example.org/8", "*", "10.0.0.*", "010.0.0.0/8",
      " 10.0.0.0/8", "10.0.0.0 ", "[::1]", "[::1]/128", "::1%lo/128", "fe80::1%eth0", "::g/8", "unix", "10.0.0.0\0",
      "10.0.0.0,::1" },
    { "CIDR_PREFIX", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/ 8",
      "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10.0.0.0/x", "10.0.0.0/8\0", "10.0.0.0/4294967304", "::/129", "::/",
      "::ffff:10.0.0.0/129", "10.0.0.0/00" },
  }
  for _, row in ipairs(wrong) do
    for i = 2, #row do
      it(("is not %q: %s"):format(row[i], row[1]), function()
        local address, err = cidr.parse(row[i])
        assert.is_nil(address)
        assert.equal(row[1], err)
      end)
    end
  end

  it("holds IPv4 addresses whatever clothes they wear", function()
    assert.is_true(cidr.holds("10.0.0.0/8", "::ffff:10.1.2.3"))
    assert.is_false(cidr.holds("10.0.0.0/8", "::ffff:11.1.2.3"))
    assert.is_true(cidr.holds("::ffff:10.0.0.0/104", "10.1.2.3"))
    assert.is_true(cidr.holds("::ffff:192.0.2.1", "192.0.2.1"))
  end)

  it("holds nothing of the other family", function()
    assert.is_false(cidr.holds("::/0", "10.0.0.1"))
    assert.is_false(cidr.holds("::/0", "::ffff:10.0.0.1"))
    assert.is_false(cidr.holds("0.0.0.0/0", "::1"))
    assert.is_false(cidr.holds("0.0.0.0/0", "::10.0.0.1"))
    assert.is_true(cidr.holds("::/0", "ffff::"))
    assert.is_true(cidr.holds("0.0.0.0/0", "255.255.255.255"))
  end)

  -- For prefixes of every length: an address that shares it all, and one that differs in each single bit.
  local function flipped(bytes, bit)
    local at = bit // 8 + 1
    return bytes:sub(1, at - 1) .. string.char(bytes:byte(at) ~ (0x80 >> bit % 8)) .. bytes:sub(at + 1)
  end

  local function written(bytes)
    if #bytes == 4 then return ("%d.%d.%d.%d"):format(bytes:byte(1, 4)) end
    local groups = {}
    for i = 1, 16, 2 do groups[#groups + 1] = ("%x"):format((">I2"):unpack(bytes, i)) end
    return table.concat(groups, ":")
  end

  for _, bytes in ipairs { "\xC0\x00\x02\xA5", "\x20\x01\x0d\xb8\x5a\xa5\x00\xff\x80\x01\x7f\xfe\x55\xaa\x33\xcc" } do
    it(("of %s holds what has its prefix, for each length"):format(written(bytes)), function()
      for bits = 0, #bytes * 8 do
        local network = ("%s/%d"):format(written(bytes), bits)
        assert.is_true(cidr.holds(network, written(bytes)))
        for bit = 0, #bytes * 8 - 1 do
          assert.equal(bit >= bits, cidr.holds(network, written(flipped(bytes, bit))), network .. " bit " .. bit)
        end
      end
    end)
  end

  it("holds what Python says it does #foreign", function()
    local directory = helper.directory()
    finally(function() helper.remove(directory) end)
    helper.write(directory .. "/judge.py", [[
import ipaddress, random
random.seed(4)
for _ in range(2000):
    size, family, network = random.choice(((32, ipaddress.IPv4Address, ipaddress.IPv4Network),
                                           (128, ipaddress.IPv6Address, ipaddress.IPv6Network)))
    base, bits = random.getrandbits(size), random.randint(0, size)
    other = base ^ (1 << random.randrange(size)) if random.random() < .8 else random.getrandbits(size)
    net = network((base, bits), strict=False)
    print(f"{family(base)}/{bits} {family(other)} {family(other) in net}")
]])
    local output, status = helper.run(("%s %s/judge.py"):format(helper.python(), directory))
    assert.equal(0, status, output)
    local count = { True = 0, False = 0 }
    for network, address, verdict in output:gmatch "(%S+) (%S+) (%S+)\n" do
      assert.equal(verdict == "True", cidr.holds(network, address), network .. " " .. address)
      count[verdict] = count[verdict] + 1
    end
    assert.equal(2000, count.True + count.False)
    assert.is_true(count.True > 200 and count.False > 200)
  end)
end)
