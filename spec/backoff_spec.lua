-- How long to wait before the next attempt: growth, chance, and what the server asked for.

local backoff = require "lunawire.backoff"

local function settings(more)
  local all = { minDelay = 1000, maxDelay = 30000, factor = 1.6, jitter = 0.5 }
  for name, value in pairs(more or {}) do all[name] = value end
  return all
end

local function least() return 0 end
local function most() return 1 - 2 ^ -53 end

-- The range of waits, rounded to whole milliseconds.
local function range(options, n, closed, failure)
  local function ms(random) return math.floor(backoff(settings(options), n, closed or { code = 1006 }, failure, random) + 0.5) end
  return { ms(least), ms(most) }
end

local function asked(value, date)
  return { status = 503, headers = { ["retry-after"] = value, date = date } }
end

describe("the wait before attempt n", function()
  for _, row in ipairs {
    -- options, n, least, most
    { {}, 1, 500, 1000 }, { {}, 2, 800, 1600 }, { {}, 3, 1280, 2560 }, { {}, 8, 13422, 26844 }, { {}, 9, 15000, 30000 },
    { {}, 100, 15000, 30000 }, { {}, 1e6, 15000, 30000 },
    { { jitter = 0 }, 1, 1000, 1000 }, { { jitter = 1 }, 1, 0, 1000 }, { { jitter = 0.1 }, 2, 1440, 1600 },
    { { factor = 1 }, 50, 500, 1000 }, { { factor = 10 }, 2, 5000, 10000 }, { { factor = 1e6 }, 3, 15000, 30000 },
    { { minDelay = 0 }, 1, 0, 0 }, { { minDelay = 0 }, 2000, 0, 0 }, -- infinitely often nothing is nothing
    { { minDelay = 0, factor = 1e6 }, 1000, 0, 0 },
    { { minDelay = 5000, maxDelay = 100 }, 1, 50, 100 }, { { maxDelay = 0 }, 3, 0, 0 },
  } do
    it(("%d is from %d to %d ms"):format(row[2], row[3], row[4]), function()
      assert.same({ row[3], row[4] }, range(row[1], row[2]))
    end)
  end
end)

describe("a close code", function()
  for _, row in ipairs {
    { 1012, {}, 5000, 30000 }, { 1012, { maxDelay = 10000 }, 5000, 10000 }, { 1012, { maxDelay = 4000 }, 2000, 4000 },
    { 1012, { maxDelay = 60000 }, 5000, 30000 }, { 1012, { jitter = 0 }, 5000, 30000 },
    { 1013, {}, 15000, 30000 }, { 1013, { maxDelay = 200, jitter = 0 }, 200, 200 },
    { 1000, {}, 500, 1000 }, { 1001, {}, 500, 1000 }, { 1011, {}, 500, 1000 }, { 1014, {}, 500, 1000 },
  } do
    it(("%d asks for %d to %d ms"):format(row[1], row[3], row[4]), function()
      assert.same({ row[3], row[4] }, range(row[2], 1, { code = row[1] }))
    end)
  end
end)

describe("Retry-After", function()
  for _, row in ipairs {
    -- the field, the least wait; the most is half a second more, since not all shall come at the same moment
    { "120", 120000 }, { "1", 1000 }, { "007", 7000 }, { "3599", 3599000 },
    { "3600", 3600000 }, { "3601", 3600000 }, { ("9"):rep(400), 3600000 },
    { "0", nil }, { "", nil }, { "-1", nil }, { "1.5", nil }, { "0x10", nil }, { "1e3", nil }, { "120, 120", nil },
    { " 120", nil }, { "soon", nil }, { "tomorrow, 06 Nov", nil },
  } do
    it(("%q"):format(row[1]:sub(1, 20)), function()
      local wanted = row[2] and { row[2], row[2] + 500 } or { 500, 1000 }
      assert.same(wanted, range(nil, 1, nil, asked(row[1])))
    end)
  end

  it("never makes the wait shorter", function()
    assert.same({ 15000, 30000 }, range(nil, 20, nil, asked "1"))
    assert.same({ 20000, 35000 }, range(nil, 20, nil, asked "20"))
  end)

  it("is only looked for where there are headers", function()
    assert.same({ 500, 1000 }, range(nil, 1, nil, { code = "refused" }))
    assert.same({ 500, 1000 }, range(nil, 1, nil, { headers = {} }))
  end)
end)

describe("a date in Retry-After", function()
  -- Date, Retry-After, and the seconds between as `date -u -d` counts them.
  for _, row in ipairs {
    -- RFC 9110, 5.6.7: the three forms of one moment, and 10.2.3
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:51:37 GMT", 120 },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:51:37 GMT", 120 },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:51:37 1994", 120 },
    { "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:51:37 1994", 120 },
    { "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:51:37 GMT", 120 },
    { "Fri Dec 30 23:59:00 1999", "Fri Dec 31 00:00:00 1999", 60 },
    { "Fri, 31 Dec 1999 23:59:29 GMT", "Fri, 31 Dec 1999 23:59:59 GMT", 30 },
    -- over the edge of a minute, an hour, a day, a month, a year
    { "Wed, 31 Jul 2024 23:59:50 GMT", "Thu, 01 Aug 2024 00:00:10 GMT", 20 },
    { "Sat, 31 Dec 2022 23:59:59 GMT", "Sun, 01 Jan 2023 00:00:01 GMT", 2 },
    { "Fri, 31 Dec 1999 23:59:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", 60 },
    { "Mon, 30 Sep 2024 23:30:00 GMT", "Tue, 01 Oct 2024 00:15:00 GMT", 2700 },
    { "Sat, 30 Nov 2024 23:59:00 GMT", "Sun, 01 Dec 2024 00:00:00 GMT", 60 },
    { "Tue, 30 Apr 2024 23:59:00 GMT", "Wed, 01 May 2024 00:00:00 GMT", 60 },
    { "Wed, 31 Jan 2024 23:59:00 GMT", "Thu, 01 Feb 2024 00:00:00 GMT", 60 },
    { "Sun, 31 Mar 2024 23:59:00 GMT", "Mon, 01 Apr 2024 00:00:00 GMT", 60 },
    -- leap years: by 4, not by 100, by 400
    { "Wed, 28 Feb 2024 23:59:50 GMT", "Thu, 29 Feb 2024 00:00:00 GMT", 10 },
    { "Thu, 29 Feb 2024 23:59:50 GMT", "Fri, 01 Mar 2024 00:00:00 GMT", 10 },
    { "Tue, 28 Feb 2023 23:59:50 GMT", "Wed, 01 Mar 2023 00:00:00 GMT", 10 },
    { "Sun, 28 Feb 2100 23:59:50 GMT", "Mon, 01 Mar 2100 00:00:00 GMT", 10 },
    { "Tue, 29 Feb 2000 23:59:50 GMT", "Wed, 01 Mar 2000 00:00:00 GMT", 10 },
    { "Tue, 19 Jan 2038 03:14:07 GMT", "Tue, 19 Jan 2038 03:14:17 GMT", 10 },
    -- more than an hour is an hour
    { "Wed, 28 Feb 2024 12:00:00 GMT", "Fri, 01 Mar 2024 12:00:00 GMT", 3600 },
    { "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", 3600 },
    -- over, or no date
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:51:37", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:51:37 CET", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:51:37 GMT", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Now 1994 08:51:37 GMT", nil },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:51:37Z", nil },
    { "yesterday", "Sun, 06 Nov 1994 08:51:37 GMT", nil },
  } do
    it(row[2] .. " at " .. row[1], function()
      local wanted = row[3] and { row[3] * 1000, row[3] * 1000 + 500 } or { 500, 1000 }
      assert.same(wanted, range(nil, 1, nil, asked(row[2], row[1])))
    end)
  end

  it("is no more than 50 years from now when its year has two digits", function()
    local year = os.date "*t".year
    for _, away in ipairs { -49, -1, 0, 1, 49 } do
      local long = ("Sat, 01 Jan %d 00:00:%%02d GMT"):format(year + away)
      local short = ("Saturday, 01-Jan-%02d 00:00:10 GMT"):format((year + away) % 100)
      assert.same({ 10000, 10500 }, range(nil, 1, nil, asked(short, long:format(0))), short)
    end
  end)

  it("counts every day of every seventh year, in eight centuries", function()
    local months = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
    for year = 1600, 2400, 7 do
      local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
      local before = ("Day, 31 Dec %d 23:59:30 GMT"):format(year - 1)
      for month, days in ipairs { 31, leap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 } do
        for day = 1, days do
          local text = ("Day, %02d %s %d %%s GMT"):format(day, months[month], year)
          assert.equal(60000, backoff(settings(), 1, {}, asked(text:format "00:00:30", before), least))
          before = text:format "23:59:30"
        end
      end
    end
  end)
end)
