--- How long to wait before the next attempt: backoff with jitter, and what the server asked for.
-- @module lunawire.backoff
local max, min = math.max, math.min

-- A server may ask for more patience than anybody has: once an hour is asked all the same.
local LONGEST = 3600000

-- IANA's registry of close codes, 1012: come back after a random time of 5 to 30 seconds.
local RESTART_LEAST, RESTART_MOST = 5000, 30000

local months = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

-- The three forms of an HTTP date, of which all are to be read (RFC 9110, 5.6.7).
local fixdate = "^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"  -- Sun, 06 Nov 1994 08:49:37 GMT
local rfc850 = "^%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT$"     -- Sunday, 06-Nov-94 08:49:37 GMT
local asctime = "^%a+ (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$"    -- Sun Nov  6 08:49:37 1994

--- The year that two digits mean: no more than 50 years from now.
local function century(year)
  local this = tonumber(os.date "%Y")
  local full = this - this % 100 + tonumber(year)
  return full > this + 50 and full - 100 or full
end

local function split(date)
  local day, name, year, hour, minute, second = date:match(fixdate)
  if day then return day, name, year, hour, minute, second end
  day, name, year, hour, minute, second = date:match(rfc850)
  if day then return day, name, century(year), hour, minute, second end
  name, day, hour, minute, second, year = date:match(asctime)
  return day, name, year, hour, minute, second
end

--- Seconds of an HTTP date since some day long ago; nil when it is none.
local function seconds(date)
  local day, name, year, hour, minute, second = split(date or "")
  local month = months[name]
  if not month then return nil end
  day, year = tonumber(day), tonumber(year)
  if month <= 2 then year, month = year - 1, month + 12 end -- a year that ends with February
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month - 457) / 5) + day
  return ((days * 24 + tonumber(hour)) * 60 + tonumber(minute)) * 60 + tonumber(second)
end

--- Milliseconds that a refusal asked for with Retry-After (RFC 9110, 10.2.3), or nil. A date is read by the clock of
-- the server that wrote it, so ours does not matter.
local function retryAfter(failure)
  local headers = failure and failure.headers
  local value = headers and headers["retry-after"]
  if not value then return nil end
  local wait = value:match "^%d+$" and tonumber(value)
  if not wait then
    local at, now = seconds(value), seconds(headers.date)
    wait = at and now and max(at - now, 0)
  end
  return wait and min(wait * 1000, LONGEST)
end

--- Milliseconds to wait before attempt n (1: the first after a loss).
-- @tparam table settings `minDelay`, `maxDelay`, `factor`, `jitter`
-- @tparam number n
-- @tparam table closed the close event of the last attempt: 1012 and 1013 are respected
-- @tparam table|nil failure its error event
-- @tparam function random gives a number in [0, 1)
return function(settings, n, closed, failure, random)
  local growth = min(settings.factor ^ (n - 1), 1e15) -- infinite, it would make of a minDelay of 0 no number
  local most = min(settings.maxDelay, settings.minDelay * growth)
  local least = most * (1 - settings.jitter)
  if closed.code == 1012 then
    most = min(settings.maxDelay, RESTART_MOST)
    least = most > RESTART_LEAST and RESTART_LEAST or most * (1 - settings.jitter)
  elseif closed.code == 1013 then
    most = settings.maxDelay
    least = most * (1 - settings.jitter)
  end
  local delay = least + random() * (most - least)
  local asked = retryAfter(failure)
  if asked and asked > least then delay = asked + random() * (most - least) end -- not all of us at the same moment
  return delay
end
