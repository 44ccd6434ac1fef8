-- pki.lua -- certificates for specs: good ones, and every kind of bad one, made with the openssl program
-- when they are first asked for.
--
--   local certs = pki.new()
--   certs:cert "good"        -- the file of a certificate, with its issuers behind it; see `kinds`
--   certs:key "good"         -- that of its key
--   certs:cert "root"        -- whom a client should trust
--   certs:close()
--
-- All but the authorities share one key, since making keys is what takes time.

local helper = require "spec.helper"

local pki = {}

local Pki = {}
Pki.__index = Pki
Pki.__name = "Pki"

local DAY = 24 * 60 * 60

local CA = "critical,CA:TRUE"
local LOCALHOST = { "DNS:localhost", "IP:127.0.0.1", "IP:::1" }

-- What is made. by: who signs (none: itself). san: subjectAltName. from, to: days from now. more:
-- further extensions. bare: issuers do not stand behind it. CN defaults to the name.
local kinds = {
  root         = { ca = CA, key = "root" },
  intermediate = { ca = CA .. ",pathlen:0", by = "root", key = "intermediate" },
  stranger     = { ca = CA, key = "stranger" },
  ["expired intermediate"] = { ca = CA, by = "root", key = "other", from = -9, to = -2 },
  -- Only for names below example.test.
  constrained  = { ca = CA, by = "root", key = "constrained", more = { "nameConstraints=critical,permitted;DNS:example.test" } },
  ["no authority"] = { ca = "critical,CA:FALSE", by = "root", key = "other", usage = "digitalSignature,keyCertSign" },

  good             = { by = "intermediate", cn = "localhost", san = LOCALHOST },
  ["good by root"] = { by = "root", cn = "localhost", san = LOCALHOST },
  second           = { by = "root", cn = "localhost", san = LOCALHOST, key = "second" },
  ["self-signed"]  = { cn = "localhost", san = LOCALHOST },
  unknown          = { by = "stranger", cn = "localhost", san = LOCALHOST },
  expired          = { by = "root", cn = "localhost", san = LOCALHOST, from = -9, to = -2 },
  ["not yet"]      = { by = "root", cn = "localhost", san = LOCALHOST, from = 2, to = 9 },
  ["below expired"] = { by = "expired intermediate", cn = "localhost", san = LOCALHOST },
  ["no issuer"]    = { by = "intermediate", cn = "localhost", san = LOCALHOST, bare = true },
  ["below none"]   = { by = "no authority", cn = "localhost", san = LOCALHOST },
  outside          = { by = "constrained", cn = "localhost", san = LOCALHOST },
  inside           = { by = "constrained", cn = "a.example.test", san = { "DNS:a.example.test" } },

  ["wrong host"]   = { by = "root", cn = "elsewhere.test", san = { "DNS:elsewhere.test", "DNS:www.elsewhere.test" } },
  wildcard         = { by = "root", cn = "wild", san = { "DNS:*.example.test" } },
  ["top wildcard"] = { by = "root", cn = "wild", san = { "DNS:*.test" } },
  ["lone wildcard"] = { by = "root", cn = "wild", san = { "DNS:*" } },
  ["part wildcard"] = { by = "root", cn = "wild", san = { "DNS:f*.example.test" } },
  ["inner wildcard"] = { by = "root", cn = "wild", san = { "DNS:a.*.test" } },
  puny             = { by = "root", cn = "puny", san = { "DNS:xn--bcher-kva.example.test" } },
  ["CN only"]      = { by = "root", cn = "localhost" },
  ["CN beside SAN"] = { by = "root", cn = "localhost", san = { "DNS:elsewhere.test" } },
  ["IP as DNS"]    = { by = "root", cn = "127.0.0.1", san = { "DNS:127.0.0.1" } },
  ["IP only"]      = { by = "root", cn = "numbers", san = { "IP:127.0.0.1" } },
  ["other IP"]     = { by = "root", cn = "numbers", san = { "IP:127.0.0.2" } },

  ["weak key"]     = { by = "root", cn = "localhost", san = LOCALHOST, key = "weak" },
  ["weak digest"]  = { by = "root", cn = "localhost", san = LOCALHOST, digest = "sha1" },
  ["client only"]  = { by = "root", cn = "localhost", san = LOCALHOST, purpose = "clientAuth" },
  RSA              = { by = "root", cn = "localhost", san = LOCALHOST, key = "RSA" },

  a                = { by = "root", cn = "a", san = { "DNS:a.example.test" } },
  b                = { by = "root", cn = "b", san = { "DNS:b.example.test", "DNS:*.b.example.test" } },

  client           = { by = "root", cn = "Alice", purpose = "clientAuth" },
  ["unknown client"] = { by = "stranger", cn = "Mallory", purpose = "clientAuth" },
  ["expired client"] = { by = "root", cn = "Alice", purpose = "clientAuth", from = -9, to = -2 },
  ["server as client"] = { by = "root", cn = "Alice", purpose = "serverAuth" },
}

local keys = {
  weak = "RSA -pkeyopt rsa_keygen_bits:1024",
  RSA = "RSA -pkeyopt rsa_keygen_bits:2048",
}

local CONFIGURATION = [[
[ca]
default_ca = any
[any]
database = index.txt
new_certs_dir = .
unique_subject = no
rand_serial = yes
policy = policy
[policy]
commonName = supplied
]]

function pki.new()
  local directory = helper.directory()
  helper.write(directory .. "/configuration", CONFIGURATION)
  helper.write(directory .. "/index.txt", "")
  return setmetatable({
    directory = directory,
    made = {},            -- file names that are there
  }, Pki)
end

-- Runs a shell command in the directory; raises what it says when it fails.
function Pki:run(command)
  local said, status = helper.run(("cd %s && %s"):format(helper.quote(self.directory), command))
  if status ~= 0 then error(("%s: %s"):format(command, said)) end
  return said
end

function Pki:openssl(words) return self:run("openssl " .. words) end

-- A file that `make` makes the first time; returns its whole name.
function Pki:file(name, make)
  name = name:gsub(" ", "-")
  local whole = self.directory .. "/" .. name
  if not self.made[name] then
    make(name)
    self.made[name] = true
  end
  return whole
end

local function key_name(kind) return kinds[kind].key or "leaf" end

function Pki:privateKey(name)
  return self:file(name .. ".key", function(file)
    self:openssl(("genpkey -algorithm %s -out %s"):format(keys[name] or "EC -pkeyopt ec_paramgen_curve:P-256", file))
  end)
end

-- The key of a certificate.
function Pki:key(kind) return self:privateKey(key_name(kind)) end

-- The same, encrypted; as OpenSSL once wrote it ("old"), or by PKCS#8.
function Pki:lockedKey(kind, passphrase, form)
  return self:file(key_name(kind) .. (form or "") .. ".locked", function(file)
    self:openssl(("pkey %s -in %s -aes256 -passout %s -out %s"):format(form == "old" and "-traditional" or "",
      helper.quote(self:key(kind)), helper.quote("pass:" .. passphrase), file))
  end)
end

local function extensions(kind)
  local lines = { "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid" }
  local function add(name, value) lines[#lines + 1] = value and name .. "=" .. value end
  add("basicConstraints", kind.ca or "CA:FALSE")
  add("keyUsage", "critical," .. (kind.usage or kind.ca and "keyCertSign,cRLSign" or "digitalSignature"))
  if not kind.ca then add("extendedKeyUsage", kind.purpose or "serverAuth") end
  add("subjectAltName", kind.san and table.concat(kind.san, ","))
  for _, line in ipairs(kind.more or {}) do lines[#lines + 1] = line end
  return table.concat(lines, "\n") .. "\n"
end

local function days(n) return os.date("!%Y%m%d%H%M%SZ", os.time() + n * DAY) end

-- The certificate alone.
function Pki:single(name)
  local kind = assert(kinds[name], "no such certificate: " .. name)
  return self:file(name .. ".crt", function(file)
    local signer = ("-keyfile %s "):format(helper.quote(self:key(kind.by or name)))
      .. (kind.by and "-cert " .. helper.quote(self:single(kind.by)) or "-selfsign")
    local request = self:file(key_name(name) .. ".csr", function(csr)
      self:openssl(("req -new -key %s -subj /CN=request -out %s"):format(helper.quote(self:key(name)), csr))
    end)
    helper.write(self.directory .. "/extensions", extensions(kind))
    self:openssl(("ca -batch -notext -config configuration -extfile extensions -in %s %s -subj %s -md %s "
      .. "-startdate %s -enddate %s -out %s")
      :format(helper.quote(request), signer, helper.quote("/CN=" .. (kind.cn or name)), kind.digest or "sha256",
        days(kind.from or -1), days(kind.to or 30), file))
  end)
end

-- The certificate, and its issuers up to the root, which nobody need send.
function Pki:cert(name)
  local kind = assert(kinds[name], "no such certificate: " .. name)
  if not kind.by or kind.bare then return self:single(name) end
  return self:file(name .. ".pem", function(file)
    local chain, issuer = { helper.read(self:single(name)) }, kind.by
    while kinds[issuer].by do
      chain[#chain + 1] = helper.read(self:single(issuer))
      issuer = kinds[issuer].by
    end
    helper.write(self.directory .. "/" .. file, table.concat(chain))
  end)
end

-- A directory as OpenSSL looks for authorities in: named by their hashes.
function Pki:trustDirectory(name)
  return self:file(name .. ".d", function(file)
    local one = helper.quote(self:single(name))
    self:run(("mkdir %s && cp %s %s/one.pem && openssl rehash %s"):format(file, one, file, file))
  end)
end

-- SHA-256 of the certificate, as "AB:CD:…".
function Pki:fingerprint(name)
  return self:openssl("x509 -noout -fingerprint -sha256 -in " .. helper.quote(self:single(name))):match "=([%x:]+)"
end

-- All names there are.
function pki.kinds()
  local names = {}
  for name in pairs(kinds) do names[#names + 1] = name end
  table.sort(names)
  return names
end

function Pki:close()
  helper.remove(self.directory)
end

return pki
