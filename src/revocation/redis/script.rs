//! The scripts that Revoxy runs on the server. Each touches keys of one slot only.

use redis::Script;

/// The scripts.
pub(super) struct Scripts {
    pub revoke: Script,
    pub keep: Script,
    pub register: Script,
}

impl Scripts {
    /// The script of this text.
    pub(super) fn of(&self, text: &str) -> &Script {
        match text {
            KEEP => &self.keep,
            REGISTER => &self.register,
            _ => &self.revoke,
        }
    }
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            revoke: Script::new(REVOKE),
            keep: Script::new(KEEP),
            register: Script::new(REGISTER),
        }
    }
}

/// Records a revocation without ever weakening the one that stands, in one step on the server: two writers cannot
/// come between each other. `KEYS[1]`: the key. `ARGV[1]`: the cutoff in seconds, or empty for every token.
/// `ARGV[2]`: how long it stands, in ms, or empty for ever. `ARGV[3]`: the value as JSON, without the cutoff.
///
/// A script and not MULTI, because what to write depends on what is read. It reads a value as `format.rs` does.
pub(super) const REVOKE: &str = r"
    local old = redis.call('GET', KEYS[1])
    local cutoff, life = tonumber(ARGV[1]), tonumber(ARGV[2])
    if old then
        local ok, value = pcall(cjson.decode, old)
        local standing = ok and type(value) == 'table' and value.not_before
        if type(standing) ~= 'number' then
            cutoff = nil
        elseif cutoff and standing > cutoff then
            cutoff = standing
        end
        local left = redis.call('PTTL', KEYS[1])
        if left == -1 then life = nil elseif life and left > life then life = left end
    end
    local value = cjson.decode(ARGV[3])
    value.not_before = cutoff
    value = cjson.encode(value)
    if life then
        redis.call('SET', KEYS[1], value, 'PX', string.format('%d', life))
    else
        redis.call('SET', KEYS[1], value)
    end
    return 1
";

/// Records a revocation that was lost, unless one stands that says as much: tells whether none did. `KEYS[1]`: the key.
/// `ARGV[1]`: the cutoff in seconds, or empty for every token. `ARGV[2]`: how long it stands, in ms, or empty for ever.
/// `ARGV[3]`: by how many ms two lives may differ and be the same. `ARGV[4]`: the value as JSON, without the cutoff.
///
/// Several views write back what they hold, and one may hold more than another.
pub(super) const RESTORE: &str = r"
    local old = redis.pcall('GET', KEYS[1])
    local cutoff, life = tonumber(ARGV[1]), tonumber(ARGV[2])
    -- Of another type: it is there, so it revokes.
    if type(old) == 'table' then return 0 end
    if old then
        local ok, value = pcall(cjson.decode, old)
        local standing = ok and type(value) == 'table' and value.not_before
        if type(standing) ~= 'number' then standing = nil end
        local left = redis.call('PTTL', KEYS[1])
        local as_much = not standing or (cutoff and standing >= cutoff)
        local as_long = left == -1 or (life and left + tonumber(ARGV[3]) >= life)
        if as_much and as_long then return 0 end
        if not standing then cutoff = nil elseif cutoff then cutoff = math.max(cutoff, standing) end
        if left == -1 then life = nil elseif life then life = math.max(life, left) end
    end
    local value = cjson.decode(ARGV[4])
    value.not_before = cutoff
    value = cjson.encode(value)
    if life then
        redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', life))
    else
        redis.call('SET', KEYS[1], value)
    end
    return 1
";

/// Keeps the record of a token in its subject's list, joined with the one that stands, and takes out what has expired.
/// `KEYS[1]`: the sorted set of expiries. `KEYS[2]`: the hash of records. `ARGV[1]`: the time now, in ms. `ARGV[2]`: by how
/// many ms the keys outlive the last record. `ARGV[3]`: the record's id. `ARGV[4]`: its expiry, in ms. `ARGV[5]`: the record
/// as a JSON object of texts.
pub(super) const KEEP: &str = r"
    local now, id, expiry = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4])
    local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 100)
    if #expired > 0 then
        redis.call('ZREM', KEYS[1], unpack(expired))
        redis.call('HDEL', KEYS[2], unpack(expired))
    end
    local record = cjson.decode(ARGV[5])
    local standing = tonumber(redis.call('ZSCORE', KEYS[1], id) or '')
    if standing and standing > now then
        expiry = math.max(expiry, standing)
        local ok, old = pcall(cjson.decode, redis.call('HGET', KEYS[2], id) or '')
        if ok and type(old) == 'table' then
            record.noted_at = old.noted_at or record.noted_at
            for name, value in pairs(old) do
                if record[name] == nil then record[name] = value end
            end
        end
    end
    redis.call('ZADD', KEYS[1], string.format('%.0f', expiry), id)
    redis.call('HSET', KEYS[2], id, cjson.encode(record))
    local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
    local gone = string.format('%.0f', tonumber(last) + tonumber(ARGV[2]))
    redis.call('PEXPIREAT', KEYS[1], gone)
    redis.call('PEXPIREAT', KEYS[2], gone)
    return 1
";

/// Registers a token, never for a shorter time than before. `KEYS[1]`: the key. `ARGV[1]`: for how long, in ms. `ARGV[2]`:
/// the value.
pub(super) const REGISTER: &str = r"
    local life, left = tonumber(ARGV[1]), redis.call('PTTL', KEYS[1])
    if left == -1 then
        redis.call('SET', KEYS[1], ARGV[2])
    else
        redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', math.max(life, left)))
    end
    return 1
";
