//! The one script that Revoxy runs on the server.

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
