//! The scripts that Revoxy runs on the server. Each script touches only keys of one slot, or, outside of a cluster,
//! only keys of one revocation.
//!
//! They are scripts and not `MULTI` transactions, because what is written depends on what is read. Scripts parse a
//! value as `format.rs` does.

use redis::Script;

/// The scripts.
pub(super) struct Scripts {
    pub revoke: Script,
    pub unrevoke: Script,
    pub keep: Script,
    pub register: Script,
}

impl Scripts {
    /// Returns a script for tokens.
    pub(super) fn of(&self, script: TokenScript) -> &Script {
        match script {
            TokenScript::Keep => &self.keep,
            TokenScript::Register => &self.register,
        }
    }
}

/// A script for tokens that are recorded individually.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenScript {
    /// The script [`KEEP`].
    Keep,
    /// The script [`REGISTER`].
    Register,
}

impl TokenScript {
    /// Returns the text of the script.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Keep => KEEP,
            Self::Register => REGISTER,
        }
    }
}

/// A script for tokens with its keys, all in one slot, and its arguments.
pub(super) struct Call {
    pub script: TokenScript,
    pub keys: Vec<String>,
    pub arguments: Vec<String>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            revoke: Script::new(REVOKE),
            unrevoke: Script::new(UNREVOKE),
            keep: Script::new(KEEP),
            register: Script::new(REGISTER),
        }
    }
}

/// Builds a script that reads and writes the statements in keys, from the common functions and a body.
macro_rules! about_statements {
    ($body:literal) => {
        concat!(
            r"
    -- A version as a number, which holds its 53 bits exactly; nil where the text is none.
    local function number(text)
        if type(text) ~= 'string' then return nil end
        local millis, counter = string.match(text, '^(%d+)$'), '0'
        if not millis then millis, counter = string.match(text, '^(%d+)%.(%d+)$') end
        millis, counter = tonumber(millis), tonumber(counter)
        if not millis or millis > 8796092000000 or counter > 1023 then return nil end
        if millis + counter == 0 then return nil end
        return millis * 1024 + counter
    end
    local function text(version)
        return string.format('%.0f.%.0f', math.floor(version / 1024), version % 1024)
    end
    -- What is stated under a key: `unrevoked`, the latest un-revocation, or 0; `version` of the revocation, if one is
    -- stated; its `cutoff`, or nil for every token; `left`, its life in ms, -1 without an end, -2 without a key; whether it is
    -- of another type, and so revokes every token.
    local function read(key)
        local value = redis.pcall('GET', key)
        local stated = {unrevoked = 0, left = redis.call('PTTL', key), members = {}}
        if not value then return stated end
        stated.other_type = type(value) == 'table'
        local ok, members = pcall(cjson.decode, value)
        if not ok or type(members) ~= 'table' then members = {} end
        stated.members = members
        stated.unrevoked = number(members.unrevoked) or 0
        if members.version ~= nil or stated.unrevoked == 0 then
            stated.version = number(members.version)
            stated.by_hand = stated.version == nil
            stated.version = stated.version or stated.unrevoked + 1
            if type(members.not_before) == 'number' then stated.cutoff = members.not_before end
        end
        return stated
    end
    -- Whether a revocation stands after an un-revocation. One that was set by hand comes after all that stands beside it.
    local function stands(stated, unrevoked)
        return stated.version ~= nil and (stated.by_hand or stated.version > unrevoked)
    end
    -- A version of now, by the server's clock; 0 where the user may not know it.
    local function present()
        local time = redis.pcall('TIME')
        if not time[1] then return 0 end
        return (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + time[2] % 1000
    end
    local wrong_type = {err = 'WRONGTYPE the key holds no string'}
    -- The longer of two lives; -1 is without an end.
    local function longer(one, other)
        if one == -1 or other == -1 then return -1 end
        return math.max(one, other)
    end
    local function write(key, value, life)
        value = cjson.encode(value)
        if life == -1 then
            redis.call('SET', key, value)
        else
            redis.call('SET', key, value, 'PX', string.format('%.0f', math.max(life, 1)))
        end
    end
",
            $body
        )
    };
}

/// Records a revocation atomically, without ever weakening a stored one. A revocation that was set by hand stays
/// without a version. If the caller allows it, a revocation that adds nothing to a stored one is not written again.
/// Returns 1 and the version of what is then stored; or 0 and the version of an un-revocation that is not earlier.
/// In that case nothing is written: the request may be an old one that was delayed, and has been sent again and
/// acknowledged since. A caller that still wants the revocation states it again, with a later version.
///
/// `KEYS[1]`: the key. `KEYS[2]`, except in a cluster: its restored key. `ARGV[1]`: the cutoff in seconds, or
/// empty for every token. `ARGV[2]`: the life in ms, or empty for no expiry. `ARGV[3]`: the value as JSON,
/// without the cutoff. `ARGV[4]`: the version. `ARGV[5]`: a stored revocation that expires at most so many ms
/// earlier counts as equally long and is not written again; empty to write in any case.
pub(super) const REVOKE: &str = about_statements!(
    r"
    local cutoff, life = tonumber(ARGV[1]), tonumber(ARGV[2]) or -1
    local old = read(KEYS[1])
    if old.other_type then return wrong_type end
    local restored = KEYS[2] and read(KEYS[2]) or {unrevoked = 0}
    local unrevoked = math.max(old.unrevoked, restored.unrevoked)
    local version = number(ARGV[4])
    if version <= unrevoked then return {0, text(unrevoked)} end
    local value, slack = cjson.decode(ARGV[3]), tonumber(ARGV[5])
    if slack and stands(old, unrevoked)
        and (not old.cutoff or cutoff and cutoff <= old.cutoff)
        and (old.left == -1 or life ~= -1 and life <= old.left + slack)
        and old.members.reason == value.reason and old.members.actor == value.actor
    then
        return {1, text(old.version)}
    end
    -- Later than an un-revocation that was overwritten or deleted by hand here, and that a view still knows.
    version = math.max(version, present())
    if stands(old, unrevoked) then
        version = math.max(version, old.version)
        if cutoff and old.cutoff then cutoff = math.max(cutoff, old.cutoff) else cutoff = nil end
    end
    value.not_before = cutoff
    if stands(old, unrevoked) and old.by_hand then
        -- What was set by hand counts after every un-revocation, also after one by a clock that is ahead, which only views know by
        -- now. With a version it could count before that one.
        version = old.version
    else
        value.version = text(version)
        if unrevoked > 0 then value.unrevoked = text(unrevoked) end
    end
    write(KEYS[1], value, longer(life, old.left))
    return {1, text(version)}
"
);

/// Takes a revocation back: from now on its key states the un-revocation, which lasts as long as the revocation
/// would have. Returns 1, the version, and whether a revocation existed; or 0 and the version of a revocation
/// that is later. In that case nothing is written: see [`REVOKE`].
///
/// `KEYS[1]`: the key. `KEYS[2]`, except in a cluster: its restored key, which is deleted. `ARGV[1]`: the
/// version. `ARGV[2]`: how long the un-revocation of a revocation without an expiry is remembered, in ms.
/// `ARGV[3]`: in a cluster, the remaining life of the restored key, in ms; -2 if there is none.
pub(super) const UNREVOKE: &str = about_statements!(
    r"
    local old = read(KEYS[1])
    if old.other_type then return wrong_type end
    local restored = KEYS[2] and read(KEYS[2]) or {unrevoked = 0, left = tonumber(ARGV[3])}
    restored.by_hand = false
    local unrevoked = math.max(old.unrevoked, restored.unrevoked)
    local stood = stands(old, unrevoked) or stands(restored, unrevoked)
    local version = number(ARGV[1])
    local latest = math.max(old.version or 0, restored.version or 0)
    if latest > version then return {0, text(latest), 0} end
    -- Later than what anybody has seen to stand here without a version.
    version = math.max(version, unrevoked, present())
    local life = longer(old.left, restored.left)
    if life < 0 then life = tonumber(ARGV[2]) end
    -- Older versions of Revoxy know no un-revocations here: a cutoff at the epoch refuses nobody.
    write(KEYS[1], {not_before = 0, unrevoked = text(version)}, math.max(life, 1000))
    if KEYS[2] then redis.call('DEL', KEYS[2]) end
    return {1, text(version), stood and 1 or 0}
"
);

/// Joins a view's entry that the server has lost with the restored key. Returns whether the key is stronger now:
/// several views write back their entries, and one view may know more than another.
///
/// `KEYS[1]`: the restored key. `ARGV[1]`: the version of the revocation, or empty if there is none. `ARGV[2]`: the
/// version of the latest un-revocation, or empty. `ARGV[3]`: the cutoff in seconds, or empty for every token.
/// `ARGV[4]`: the life in ms, or empty for no expiry. `ARGV[5]`: the number of ms by which two lives may differ and
/// still count as equal. `ARGV[6]`: the value as JSON, without the fields above.
pub(super) const RESTORE: &str = about_statements!(
    r"
    local new = {version = number(ARGV[1]), unrevoked = number(ARGV[2]) or 0}
    new.cutoff, new.left = tonumber(ARGV[3]), tonumber(ARGV[4]) or -1
    local old = read(KEYS[1])
    old.by_hand = false
    if old.other_type then return 0 end
    local unrevoked = math.max(old.unrevoked, new.unrevoked)
    local life = longer(old.left, new.left)
    local value = cjson.decode(ARGV[6])
    local more = unrevoked > old.unrevoked
    if stands(new, unrevoked) then
        local before = stands(old, unrevoked)
        value.version = text(math.max(new.version, before and old.version or 0))
        if new.cutoff and before and old.cutoff then
            value.not_before = math.max(new.cutoff, old.cutoff)
        elseif not before or old.cutoff then
            value.not_before = new.cutoff
        end
        more = more or not before or new.version > old.version
            or old.cutoff and (not new.cutoff or new.cutoff > old.cutoff)
            or old.left ~= -1 and (new.left == -1 or new.left > old.left + tonumber(ARGV[5]))
    elseif stands(old, unrevoked) then
        value.version, value.not_before = text(old.version), old.cutoff
    else
        value.not_before = 0
    end
    if not more then return 0 end
    if unrevoked > 0 then value.unrevoked = text(unrevoked) end
    write(KEYS[1], value, life)
    return 1
"
);

/// Deletes a restored key, if it was stated before an un-revocation. `KEYS[1]`: the restored key. `ARGV[1]`:
/// the version of the un-revocation.
pub(super) const DROP: &str = about_statements!(
    r"
    local old, unrevoked = read(KEYS[1]), number(ARGV[1])
    old.by_hand = false
    if not stands(old, unrevoked) and old.unrevoked <= unrevoked then redis.call('DEL', KEYS[1]) end
    return 1
"
);

/// Reads a key's life and value, and the server's time in microseconds (0 if the user may not run `TIME`),
/// atomically. `MGET` and not `GET`: a key of another type is not an error, but exists.
pub(super) const READ: &str = "local t = redis.pcall('TIME') \
    return {redis.call('PTTL', KEYS[1]), redis.call('MGET', KEYS[1])[1], \
    t[1] and string.format('%.0f', t[1] * 1000000 + t[2]) or '0'}";

/// Adds a token's record to its subject's list, merged with the record that exists, and removes expired
/// records. `KEYS[1]`: the sorted set of expiries. `KEYS[2]`: the hash of records. `ARGV[1]`: the current time,
/// in ms. `ARGV[2]`: how many ms the keys outlive the last record. `ARGV[3]`: the record's id. `ARGV[4]`: its
/// expiry, in ms. `ARGV[5]`: the record as a JSON object of strings.
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

/// Registers a token, never for a shorter time than before. `KEYS[1]`: the key. `ARGV[1]`: for how long, in ms.
/// `ARGV[2]`: the value.
pub(super) const REGISTER: &str = r"
    local life, left = tonumber(ARGV[1]), redis.call('PTTL', KEYS[1])
    if left == -1 then
        redis.call('SET', KEYS[1], ARGV[2])
    else
        redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', math.max(life, left)))
    end
    return 1
";

/// Returns the text of a script by its constant's name. The test that compares the model of Redis with a real Redis
/// runs the script on both.
#[cfg(feature = "simulation")]
pub fn text(name: &str) -> Option<&'static str> {
    Some(match name {
        "REVOKE" => REVOKE,
        "UNREVOKE" => UNREVOKE,
        "RESTORE" => RESTORE,
        "DROP" => DROP,
        "READ" => READ,
        "KEEP" => KEEP,
        "REGISTER" => REGISTER,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::version::{LAST_MILLI, PER_MILLI};
    use super::*;

    #[test]
    fn the_scripts_take_the_versions_that_we_take() {
        let bound = format!("millis > {LAST_MILLI} or counter > {}", PER_MILLI - 1);
        for script in [REVOKE, UNREVOKE, RESTORE, DROP] {
            assert!(script.contains(&bound));
            assert!(script.contains(&format!("millis * {PER_MILLI} + counter")));
        }
    }
}
