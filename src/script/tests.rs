//! Expected texts are those of a Redis 7.0.15, where 7.2 does not differ.

use std::collections::BTreeMap;

use super::*;

/// A server of a few commands over maps, and what a script said to its log.
#[derive(Default)]
struct Fake {
    strings: BTreeMap<Bytes, Bytes>,
    zsets: BTreeMap<Bytes, Vec<(f64, Bytes)>>,
    calls: Vec<Vec<Bytes>>,
    log: Vec<(i64, String)>,
    interrupts: usize,
    interrupt_at: Option<usize>,
}

impl Host for Fake {
    fn call(&mut self, args: Vec<Bytes>) -> Called {
        let name = String::from_utf8_lossy(&args[0]).to_lowercase();
        let reply = match name.as_str() {
            "get" => self.strings.get(&args[1]).map_or(Reply::Null, |value| Reply::Bulk(value.clone())),
            "set" => {
                self.strings.insert(args[1].clone(), args[2].clone());
                Reply::Ok
            }
            "del" => Reply::flag(self.strings.remove(&args[1]).is_some()),
            "echo" => Reply::Bulk(args[1].clone()),
            "zadd" => {
                let score = crate::resp::parse_double(&args[2]).expect("a score");
                self.zsets.entry(args[1].clone()).or_default().push((score, args[3].clone()));
                Reply::Integer(1)
            }
            // Only the form that Sidekiq sends: key -inf max BYSCORE LIMIT 0 1.
            "zrange" => {
                let max = crate::resp::parse_double(&args[3]).expect("a score");
                let members = self.zsets.get(&args[1]).into_iter().flatten();
                let first = members.filter(|member| member.0 <= max).min_by(|a, b| a.0.total_cmp(&b.0));
                Reply::Array(first.map(|(_, member)| Reply::Bulk(member.clone())).into_iter().collect())
            }
            "zrem" => {
                let members = self.zsets.entry(args[1].clone()).or_default();
                let before = members.len();
                members.retain(|(_, member)| *member != args[2]);
                Reply::flag(members.len() < before)
            }
            "status" => Reply::status("QUEUED"),
            "int" => Reply::Integer(42),
            "double" => Reply::Double(1795291989.5),
            "null" => Reply::Null,
            "nullarray" => Reply::NullArray,
            "verbatim" => Reply::Verbatim(Bytes::from_static(b"text")),
            "map" => Reply::Map(vec![(Reply::bulk("field"), Reply::bulk("value"))]),
            "members" => Reply::Set(vec![Reply::bulk("a"), Reply::bulk("b")]),
            "scored" => Reply::Scored(vec![(Bytes::from_static(b"a"), 1.5), (Bytes::from_static(b"b"), 3.0)]),
            "pairs" => Reply::Pairs(vec![(Reply::bulk("a"), Reply::bulk("1"))]),
            "nested" => Reply::Array(vec![Reply::Array(vec![Reply::Integer(1), Reply::Null]), Reply::bulk("x")]),
            "wrong" => Reply::Error(Error::WRONG_TYPE),
            "bare" => Reply::Error(Error::new("BUSYKEY")),
            "big" => Reply::Bulk(Bytes::from(vec![b'x'; 1 << 20])),
            "stop" => return Called::Stop,
            "panic" => panic!("the host broke"),
            _ => Reply::Error(Error::new("ERR Unknown Redis command called from script")),
        };
        self.calls.push(args);
        Called::Reply(reply)
    }

    fn log(&mut self, level: i64, text: &str) {
        self.log.push((level, text.to_owned()));
    }

    fn interrupted(&mut self) -> bool {
        self.interrupts += 1;
        self.interrupt_at.is_some_and(|at| self.interrupts >= at)
    }
}

fn run(script: &str) -> Reply {
    run_with(&mut Engine::new(), &mut Fake::default(), script, &[], &[])
}

fn run_with(engine: &mut Engine, host: &mut Fake, script: &str, keys: &[&str], args: &[&str]) -> Reply {
    match outcome(engine, host, script, keys, args) {
        Outcome::Reply(reply) => reply,
        Outcome::Stopped => panic!("stopped: {script}"),
    }
}

fn outcome(engine: &mut Engine, host: &mut Fake, script: &str, keys: &[&str], args: &[&str]) -> Outcome {
    let owned = |texts: &[&str]| texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect::<Vec<_>>();
    match engine.load(script.as_bytes()) {
        Ok(sha) => engine.run(&sha, &owned(keys), &owned(args), host),
        Err(error) => Outcome::Reply(Reply::Error(error)),
    }
}

#[track_caller]
fn check(script: &str, expected: Reply) {
    assert_eq!(run(script), expected, "{script}");
}

/// Checks an error that ends a script; ` script: SHA` is put in where `expected` has ` @`.
#[track_caller]
fn check_error(script: &str, expected: &str) {
    let sha = sha1_smol::Sha1::from(script.as_bytes()).digest().to_string();
    let expected = expected.replace(" @", &format!(" script: {sha}, on @"));
    check(script, Reply::Error(Error::new(expected)));
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text)
}

fn integers(values: &[i64]) -> Reply {
    Reply::Array(values.iter().map(|&value| Reply::Integer(value)).collect())
}

fn bulks(values: &[&str]) -> Reply {
    Reply::Array(values.iter().map(Reply::bulk).collect())
}

#[test]
fn lua_values_become_redis_replies() {
    check("return 1", Reply::Integer(1));
    check("return 2.9", Reply::Integer(2));
    check("return -2.9", Reply::Integer(-2));
    check("return 1e300", Reply::Integer(i64::MIN));
    check("return 1/0", Reply::Integer(i64::MIN));
    check("return 0/0", Reply::Integer(i64::MIN));
    check("return 'a'", bulk("a"));
    check("return ''", bulk(""));
    check("return '\\255\\0'", Reply::bulk(b"\xff\0"));
    check("return true", Reply::Integer(1));
    check("return false", Reply::Null);
    check("return nil", Reply::Null);
    check("return", Reply::Null);
    check("", Reply::Null);
    check("return function() end", Reply::Null);
    check("return {}", Reply::Array(vec![]));
    check(
        "return {1,2,3.9,'x',nil,4}",
        Reply::Array(vec![Reply::Integer(1), Reply::Integer(2), Reply::Integer(3), bulk("x")]),
    );
    check(
        "return {1,{2,{3}},false,x=1}",
        Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::Integer(2), integers(&[3])]), Reply::Null]),
    );
    check("return {ok='fine'}", Reply::Status(Bytes::from_static(b"fine")));
    check("return {ok='a\\r\\nb'}", Reply::Status(Bytes::from_static(b"a  b")));
    check("return {err='MY error'}", Reply::Error(Error::new("MY error")));
    check("return {err='MY\\nerror\\r\\n'}", Reply::Error(Error::new("MY error")));
    check("return {1,{err='MY error'}}", Reply::Array(vec![Reply::Integer(1), Reply::Error(Error::new("MY error"))]));
    check("return {double=3.5}", Reply::Double(3.5));
    check("return {map={a=1}}", Reply::Map(vec![(bulk("a"), Reply::Integer(1))]));
    check("return {set={a=true}}", Reply::Set(vec![bulk("a")]));
    check("return {verbatim_string={format='txt',string='t'}}", Reply::Verbatim(Bytes::from_static(b"t")));
    check("return {big_number='123'}", bulk("123"));
    check("return {ok=1,5}", integers(&[5]));
}

#[test]
fn redis_replies_become_lua_values() {
    for (command, expected) in [
        ("status", "table QUEUED"),
        ("int", "number 42"),
        ("double", "string 1795291989.5"),
        ("null", "boolean false"),
        ("nullarray", "boolean false"),
        ("verbatim", "string text"),
    ] {
        let script = format!(
            "local v = redis.call('{command}') local t = type(v) if t == 'table' then v = v.ok end return t .. ' ' .. tostring(v)"
        );
        check(&script, bulk(expected));
    }
    check("return redis.call('map')", bulks(&["field", "value"]));
    check("return redis.call('members')", bulks(&["a", "b"]));
    check("return redis.call('pairs')", bulks(&["a", "1"]));
    check("return redis.call('scored')", bulks(&["a", "1.5", "b", "3"]));
    check("return redis.call('set','k','v')", Reply::Status(Bytes::from_static(b"OK")));
    check(
        "return redis.call('nested')",
        Reply::Array(vec![Reply::Array(vec![Reply::Integer(1), Reply::Null]), bulk("x")]),
    );
    check(
        "local n = redis.call('nested') return {type(n[1][2]), #n[1]}",
        Reply::Array(vec![bulk("boolean"), Reply::Integer(2)]),
    );
}

#[test]
fn setresp_3_gives_the_shapes_of_resp3_to_this_script_alone() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    for (script, expected) in [
        ("redis.setresp(3) return redis.call('map').map.field", bulk("value")),
        ("redis.setresp(3) return tostring(redis.call('members').set.b)", bulk("true")),
        ("redis.setresp(3) return tostring(redis.call('double').double)", bulk("1795291989.5")),
        ("redis.setresp(3) return tostring(redis.call('null'))", bulk("nil")),
        ("redis.setresp(3) return redis.call('scored')[2][1]", bulk("b")),
        ("redis.setresp(3) return redis.call('pairs')[1][2]", bulk("1")),
        ("redis.setresp(3) return redis.call('verbatim').verbatim_string.string", bulk("text")),
        ("return tostring(redis.call('null'))", bulk("false")),
    ] {
        assert_eq!(run_with(&mut engine, &mut host, script, &[], &[]), expected, "{script}");
    }
    check_error("return redis.setresp(4)", "ERR RESP version must be 2 or 3. @user_script:1.");
    check_error("return redis.setresp()", "ERR redis.setresp() requires one argument. @user_script:1.");
}

#[test]
fn numbers_reach_commands_with_all_their_digits() {
    for (number, text) in [
        ("3", "3"),
        ("-0", "-0"),
        ("0.1", "0.1"),
        ("1e15", "1000000000000000"),
        ("2^53", "9007199254740992"),
        ("1e17", "100000000000000000"),
        ("1e20", "1e+20"),
        ("123456789.5", "123456789.5"),
        ("1/0", "inf"),
    ] {
        check(&format!("return redis.call('echo',{number})"), bulk(text));
    }
    // Lua's own conversion keeps its 14 digits.
    check("return redis.call('echo', '(' .. 1795291989.8486226)", bulk("(1795291989.8486"));
    check("return tostring(2^53)", bulk("9.007199254741e+15"));
}

#[test]
fn an_error_of_a_command_keeps_its_code_and_gains_its_place() {
    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    check_error("return redis.call('wrong')", &format!("{WRONG} @user_script:1."));
    check_error("local x = 1\n\nredis.call('wrong')", &format!("{WRONG} @user_script:3."));
    check_error("local function f()\nredis.call('wrong') end\nf()", &format!("{WRONG} @user_script:2."));
    check_error("coroutine.wrap(function() redis.call('wrong') end)()", &format!("{WRONG} @user_script:1."));
    check_error("return redis.call('nosuch')", "ERR Unknown Redis command called from script @user_script:1.");
    check_error("return redis.call('bare')", "ERR BUSYKEY @user_script:1.");
    check("return redis.pcall('wrong')", Reply::Error(Error::WRONG_TYPE));
    check("return redis.pcall('wrong').err", bulk(WRONG));
    check("return tostring(redis.pcall('wrong').ignore_error_stats_update)", bulk("true"));
    check(
        "local ok, e = pcall(redis.call, 'wrong') return {tostring(ok), type(e), e}",
        bulks(&["false", "string", WRONG]),
    );
    check(
        "return {xpcall(function() redis.call('wrong') end, function(e) return type(e) .. e.err end)}",
        Reply::Array(vec![Reply::Null, bulk(&format!("table{WRONG}"))]),
    );
}

#[test]
fn an_error_of_lua_has_the_text_of_redis() {
    check_error("error('x')", "ERR user_script:1: x @user_script:1.");
    check_error("error('x',0)", "ERR x @user_script:1.");
    check_error("error()", "ERR nil @user_script:1.");
    check_error("error({err='My Err'})", "My Err @user_script:1.");
    check_error("error({err=5})", "5 @user_script:1.");
    check_error("error({foo=1})", "ERR the error object is not a string @user_script:1.");
    check_error("local function f() error('deep') end\nf()", "ERR user_script:1: deep @user_script:1.");
    check_error("local function f() error('deep',2) end\nf()", "ERR user_script:2: deep @user_script:1.");
    check_error("local x; return x.y", "ERR user_script:1: attempt to index local 'x' (a nil value) @user_script:1.");
    check_error(
        "return {1,\nnil + 1}",
        "ERR user_script:2: attempt to perform arithmetic on a nil value @user_script:2.",
    );
    check_error("local function f() return 1+f() end return f()", "ERR user_script:1: stack overflow @user_script:1.");
    check_error("return coroutine.yield(1)", "ERR attempt to yield across metamethod/C-call boundary @user_script:1.");
    check_error(
        "local c=coroutine.wrap(function() error('co') end)\nc()",
        "ERR user_script:2: user_script:1: co @user_script:2.",
    );
}

#[test]
fn a_script_that_does_not_compile_is_refused() {
    check(
        "return +",
        Reply::Error(Error::new(
            "ERR Error compiling script (new function): user_script:1: unexpected symbol near '+'",
        )),
    );
    check(
        "x",
        Reply::Error(Error::new("ERR Error compiling script (new function): user_script:1: '=' expected near '<eof>'")),
    );
    let Err(error) = Engine::new().load(b"\x1bLua") else { panic!("bytecode was taken") };
    assert!(error.line().starts_with("ERR Error compiling script (new function): user_script:1: "), "{error}");
}

#[test]
fn error_and_status_replies_are_made_as_in_redis() {
    for (argument, line) in [
        ("'MY ERR'", "MY ERR"),
        ("'MYERR'", "ERR MYERR"),
        ("'-MYERR'", "ERR MYERR"),
        ("'-A B\\r\\n'", "A B"),
        ("'A B\\nC'", "A B C"),
        ("1", "ERR wrong number or type of arguments"),
        ("'a','b'", "ERR wrong number or type of arguments"),
    ] {
        check(&format!("return redis.error_reply({argument})"), Reply::Error(Error::new(line)));
    }
    check("return redis.status_reply('x')", Reply::Status(Bytes::from_static(b"x")));
    check("return redis.status_reply(1)", Reply::Error(Error::new("ERR wrong number or type of arguments")));
}

#[test]
fn arguments_of_redis_functions_are_checked() {
    const NONE: &str = "ERR Please specify at least one argument for this redis lib call";
    const KINDS: &str = "ERR Lua redis lib command arguments must be strings or integers";
    check_error("return redis.call()", &format!("{NONE} @user_script:1."));
    check("return redis.pcall()", Reply::Error(Error::new(NONE)));
    for argument in ["{}", "'set',nil", "'set',true", "'set',redis.call"] {
        check_error(&format!("return redis.call({argument})"), &format!("{KINDS} @user_script:1."));
    }
    check_error("redis.log()", "ERR redis.log() requires two arguments or more. @user_script:1.");
    check_error("redis.log('a','b')", "ERR First argument must be a number (log level). @user_script:1.");
    check_error("redis.log(9,'b')", "ERR Invalid debug level. @user_script:1.");
    check_error("redis.sha1hex()", "ERR wrong number of arguments @user_script:1.");
    check_error("redis.set_repl()", "ERR redis.set_repl() requires two arguments. @user_script:1.");
    check_error(
        "redis.set_repl(77)",
        "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE. @user_script:1.",
    );
}

#[test]
fn the_redis_table_has_its_constants_and_helpers() {
    check("return redis.sha1hex('')", bulk("da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    check("return redis.sha1hex(1)", bulk("356a192b7913b04c54574d18c28d46e6395428ab"));
    check(
        "return {redis.LOG_DEBUG,redis.LOG_VERBOSE,redis.LOG_NOTICE,redis.LOG_WARNING,redis.REPL_NONE,redis.REPL_AOF,\
         redis.REPL_SLAVE,redis.REPL_REPLICA,redis.REPL_ALL}",
        integers(&[0, 1, 2, 3, 0, 1, 2, 2, 3]),
    );
    check("return redis.REDIS_VERSION", bulk("7.2.4"));
    check("return redis.REDIS_VERSION_NUM", Reply::Integer(0x0007_0204));
    check("return redis.replicate_commands()", Reply::Integer(1));
    check("return redis.set_repl(redis.REPL_ALL)", Reply::Null);
    check("redis.debug('x') return tostring(redis.breakpoint())", bulk("false"));
    check("return redis.foo", Reply::Null);
    let mut host = Fake::default();
    run_with(&mut Engine::new(), &mut host, "redis.log(redis.LOG_WARNING, 'a', 1, {}, 'b')", &[], &[]);
    assert_eq!(host.log, [(3, "a 1 b".to_owned())]);
}

#[test]
fn keys_and_arguments_are_tables_that_a_script_may_change() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let script =
        "KEYS[1] = 'changed' local first = table.remove(ARGV, 1) return {KEYS[1], #KEYS, first, #ARGV, ARGV[1]}";
    for _ in 0..2 {
        let reply = run_with(&mut engine, &mut host, script, &["k"], &["a", "b"]);
        let expected = vec![bulk("changed"), Reply::Integer(1), bulk("a"), Reply::Integer(1), bulk("b")];
        assert_eq!(reply, Reply::Array(expected));
    }
    assert_eq!(run_with(&mut engine, &mut host, "return {#KEYS, #ARGV}", &[], &[]), integers(&[0, 0]));
}

#[test]
fn what_is_not_there_cannot_be_read() {
    for name in [
        "nosuch", "print", "require", "package", "io", "os", "dofile", "loadfile", "debug", "module", "newproxy",
        "getfenv", "setfenv", "jit",
    ] {
        check_error(
            &format!("return {name}"),
            &format!(
                "ERR user_script:1: Script attempted to access nonexistent global variable '{name}' @user_script:1."
            ),
        );
    }
    check(
        "local t = {} for name in pairs(_G) do t[#t + 1] = name end table.sort(t) return table.concat(t, ' ')",
        bulk(
            "ARGV KEYS _G _VERSION assert cjson collectgarbage coroutine error gcinfo getmetatable ipairs load \
             loadstring math next pairs pcall rawequal rawget rawset redis select setmetatable string table tonumber \
             tostring type unpack xpcall",
        ),
    );
}

#[test]
fn nothing_shared_can_be_written() {
    for statement in [
        "nosuch = 1",
        "KEYS = {}",
        "redis = 1",
        "_G.x = 1",
        "redis.call = 1",
        "string.upper = nil",
        "math.pi = 3",
        "table.new = 1",
        "coroutine.wrap = 1",
        "cjson.encode = 1",
        "getmetatable(_G).__index = 1",
        "getmetatable('').__index = 1",
        "getmetatable('').__index.upper = 1",
        "function f() end",
    ] {
        let sha = sha1_smol::Sha1::from(statement.as_bytes()).digest().to_string();
        let Reply::Error(error) = run(statement) else { panic!("{statement} was allowed") };
        let text = error.line();
        assert!(text.contains(": Attempt to modify a readonly table script: "), "{statement}: {text}");
        assert!(
            text.starts_with("ERR ") && text.ends_with(&format!("{sha}, on @user_script:1.")),
            "{statement}: {text}"
        );
    }
    check_error(
        "loadstring('x = 1')()",
        "ERR [string \"x = 1\"]:1: Attempt to modify a readonly table script: f9ac7a220881bb00c2b050bce8988210db9f9512, on x = 1:1.",
    );
    for expression in ["setmetatable(_G,{})", "setmetatable(redis,{})", "rawset(_G,'x',1)", "table.insert(redis,1)"] {
        check_error(expression, "ERR Attempt to modify a readonly table @user_script:1.");
    }
}

#[test]
fn a_locked_table_reads_like_an_ordinary_one() {
    check("return getmetatable('').__index == string and ('x'):upper() .. ('%d'):format(3)", bulk("X3"));
    check("return rawget(redis, 'REPL_ALL')", Reply::Integer(3));
    check("return next(redis) ~= nil", Reply::Integer(1));
    check("local n = 0 for _ in pairs(math) do n = n + 1 end return n > 20", Reply::Integer(1));
    check("local t = {} for k, v in pairs({10, 20}) do t[k] = v end return t", integers(&[10, 20]));
    check("return _G.redis == redis and _G._G == _G", Reply::Integer(1));
    check("local t = setmetatable({}, {__index = function(_, k) return k end}) return t.abc", bulk("abc"));
    check("local t = {} rawset(t, 1, 5) table.insert(t, 6) return t", integers(&[5, 6]));
}

#[test]
fn bytecode_is_never_loaded() {
    check("local code = string.dump(function() return 1 end) return {tostring(loadstring(code))}", bulks(&["nil"]));
    check(
        "local code, done = string.dump(function() return 1 end), false \
         local f = load(function() if done then return nil end done = true return code end) return tostring(f)",
        bulk("nil"),
    );
    check("return loadstring('return 5')()", Reply::Integer(5));
    check("local n = 0 return load(function() n = n + 1 return ({'return ', '7'})[n] end)()", Reply::Integer(7));
    check("local f, e = loadstring('return +') return e", bulk("[string \"return +\"]:1: unexpected symbol near '+'"));
    check(
        "local f, e = loadstring('error(\"x\")', '@mine') return {pcall(f)}",
        Reply::Array(vec![Reply::Null, bulk("mine:1: x")]),
    );
    check("return {load(function() error('x', 0) end)}", Reply::Array(vec![]));
    check("return select(2, load(function() return {} end))", bulk("reader function must return a string"));
}

#[test]
fn a_stop_cannot_be_caught() {
    for script in [
        "redis.call('stop')",
        "redis.pcall('stop')",
        "pcall(redis.call, 'stop') redis.call('set', 'k', 'v')",
        "pcall(function() pcall(redis.pcall, 'stop') redis.call('set', 'k', 'v') end) redis.call('set', 'k', 'v')",
        "xpcall(function() redis.call('stop') end, function() redis.call('set', 'k', 'v') end)",
        "xpcall(error, function() redis.call('stop') end) redis.call('set', 'k', 'v')",
        "local c = coroutine.create(function() redis.call('stop') end) coroutine.resume(c) redis.call('set', 'k', 'v')",
        "local c = coroutine.wrap(function() pcall(redis.call, 'stop') end) pcall(c) redis.call('set', 'k', 'v')",
        "load(function() redis.call('stop') end) redis.call('set', 'k', 'v')",
        "pcall(string.gsub, 'x', 'x', function() redis.call('stop') end) redis.call('set', 'k', 'v')",
        "pcall(table.sort, {2, 1}, function() redis.call('stop') end) redis.call('set', 'k', 'v')",
        "pcall(tostring, setmetatable({}, {__tostring = function() redis.call('stop') end})) redis.call('set','k','v')",
        "pcall(function() local x = setmetatable({}, {__index = function() redis.call('stop') end}).y end) \
         redis.call('set', 'k', 'v')",
    ] {
        let mut engine = Engine::new();
        let mut host = Fake::default();
        assert_eq!(outcome(&mut engine, &mut host, script, &[], &[]), Outcome::Stopped, "{script}");
        assert!(host.calls.is_empty(), "{script} went on: {:?}", host.calls);
        // The engine is as good as new.
        assert_eq!(run_with(&mut engine, &mut host, "return redis.call('int')", &[], &[]), Reply::Integer(42));
    }
}

#[test]
fn an_endless_script_is_interrupted_wherever_it_loops() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "xpcall(error, function() while true do end end)",
        "load(function() return ' ' end)",
        "local function f() return f() end f()",
    ] {
        let mut host = Fake { interrupt_at: Some(3), ..Fake::default() };
        assert_eq!(outcome(&mut Engine::new(), &mut host, script, &[], &[]), Outcome::Stopped, "{script}");
        assert_eq!(host.interrupts, 3, "{script}");
    }
}

#[test]
fn a_script_that_is_not_interrupted_goes_on() {
    let mut host = Fake::default();
    let script = "local n = 0 for i = 1, 1000000 do n = n + 1 end return n";
    assert_eq!(run_with(&mut Engine::new(), &mut host, script, &[], &[]), Reply::Integer(1_000_000));
    assert!(host.interrupts >= 10, "{}", host.interrupts);
}

#[test]
fn a_panic_of_the_host_passes_through_lua_unharmed() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    for script in ["redis.call('panic')", "pcall(redis.call, 'panic') return 1"] {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outcome(&mut engine, &mut host, script, &[], &[]);
        }));
        let panic = panic.expect_err("the panic was swallowed");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the host broke"), "{script}");
    }
    assert_eq!(run_with(&mut engine, &mut host, "return redis.call('int')", &[], &[]), Reply::Integer(42));
}

#[test]
fn an_engine_moves_between_threads() {
    let mut engine = Engine::new();
    let sha = engine.load(b"return redis.call('int')").expect("it compiles");
    for _ in 0..3 {
        engine = std::thread::scope(|scope| {
            let sha = &sha;
            let moved = move || {
                let mut engine = engine;
                let reply = engine.run(sha, &[], &[], &mut Fake::default());
                assert_eq!(reply, Outcome::Reply(Reply::Integer(42)));
                engine
            };
            scope.spawn(moved).join().expect("the script ran")
        });
    }
}

#[test]
fn random_numbers_are_those_of_redis_for_a_seed_and_start_anew_for_each_script() {
    let mut engine = Engine::new();
    let script = "return {math.random(100),math.random(100),math.random(5,10),math.random(1000000)}";
    for _ in 0..2 {
        assert_eq!(run_with(&mut engine, &mut Fake::default(), script, &[], &[]), integers(&[18, 75, 5, 870_466]));
    }
    check("return tostring(math.random())", bulk("0.17082803611217"));
    check(&format!("math.randomseed(7) {script}"), integers(&[27, 69, 6, 129_111]));
    check_error("math.random(0)", "ERR user_script:1: bad argument #1 to 'random' (interval is empty) @user_script:1.");
    check_error(
        "math.random(5,4)",
        "ERR user_script:1: bad argument #2 to 'random' (interval is empty) @user_script:1.",
    );
    check_error("math.random(1,2,3)", "ERR user_script:1: wrong number of arguments @user_script:1.");
}

#[test]
fn json_is_encoded_as_lua_cjson_does() {
    for (value, text) in [
        ("{}", "{}"),
        ("{1,2,{}}", "[1,2,{}]"),
        ("{1,nil,3}", "[1,null,3]"),
        ("{[1]=1,[5]=2}", "[1,null,null,null,2]"),
        ("{a={b=cjson.null}}", r#"{"a":{"b":null}}"#),
        ("{[1.5]=1}", r#"{"1.5":1}"#),
        ("{[-1]=3}", r#"{"-1":3}"#),
        ("'a/b\"\\\\\\n\\r\\t\\b\\f\\1\\127'", r#""a\/b\"\\\n\r\t\b\f\u0001\u007f""#),
        ("'é'", "\"é\""),
        ("0.1", "0.1"),
        ("-0", "-0"),
        ("1e20", "1e+20"),
        ("123456789012345678", "1.2345678901235e+17"),
        ("1795291989.8486226", "1795291989.8486"),
        ("12345678901234", "12345678901234"),
        ("true", "true"),
        ("nil", "null"),
        ("cjson.null", "null"),
    ] {
        check(&format!("return cjson.encode({value})"), bulk(text));
    }
    check("return cjson.encode('\\200\\0')", Reply::bulk(b"\"\xc8\\u0000\""));
    for (value, text) in [
        ("pcall", "Cannot serialise function: type not supported"),
        ("{[1]=1,[100]=2}", "Cannot serialise table: excessively sparse array"),
        ("{[true]=1}", "Cannot serialise boolean: table key must be a number or string"),
        ("1/0", "Cannot serialise number: must not be NaN or Inf"),
        ("{0/0}", "Cannot serialise number: must not be NaN or Inf"),
        ("", "bad argument #1 to 'encode' (expected 1 argument)"),
        ("1,2", "bad argument #1 to 'encode' (expected 1 argument)"),
    ] {
        check_error(&format!("return cjson.encode({value})"), &format!("ERR user_script:1: {text} @user_script:1."));
    }
    check("local t = {} for i = 1, 999 do t = {t} end return #cjson.encode(t)", Reply::Integer(2000));
    check_error(
        "local t = {} for i = 1, 1100 do t = {t} end return cjson.encode(t)",
        "ERR user_script:1: Cannot serialise, excessive nesting (1001) @user_script:1.",
    );
}

#[test]
fn json_is_decoded_as_lua_cjson_does() {
    for (text, expected) in [
        (r#"{"a":[1,2.5,-3e2,true,false,null,"x"],"b":{}}"#, r#"{"a":[1,2.5,-300,true,false,null,"x"],"b":{}}"#),
        ("  [ 1 , 2 ]\n", "[1,2]"),
        ("[]", "{}"),
        (r#""\u0041\n\/\ud834\udd1e""#, "\"A\\n\\/𝄞\""),
        ("12345678901234567890", "1.2345678901235e+19"),
        ("0x10", "16"),
        ("01", "1"),
        ("+1", "1"),
        ("null", "null"),
    ] {
        check(&format!("return cjson.encode(cjson.decode([==[{text}]==]))"), bulk(expected));
    }
    check("return cjson.decode('\"\\200\\1\"')", Reply::bulk(b"\xc8\x01"));
    check("return tostring(cjson.decode('null') == cjson.null)", bulk("true"));
    check("return tostring(cjson.decode('NaN')) .. tostring(cjson.decode('-Infinity'))", bulk("nan-inf"));
    for (text, error) in [
        ("", "Expected value but found T_END at character 1"),
        (" ", "Expected value but found T_END at character 2"),
        ("{", "Expected object key string but found T_END at character 2"),
        ("[", "Expected value but found T_END at character 2"),
        ("]", "Expected value but found T_ARR_END at character 1"),
        ("[1,]", "Expected value but found T_ARR_END at character 4"),
        ("[1 2]", "Expected comma or array end but found T_NUMBER at character 4"),
        (r#"{"a"}"#, "Expected colon but found T_OBJ_END at character 5"),
        (r#"{"a":1,}"#, "Expected object key string but found T_OBJ_END at character 8"),
        (r#"{"a":1 "b"}"#, "Expected comma or object end but found T_STRING at character 8"),
        ("{1:2}", "Expected object key string but found T_NUMBER at character 2"),
        ("truefoo", "Expected the end but found invalid token at character 5"),
        ("nul", "Expected value but found invalid token at character 1"),
        ("1.5.5", "Expected the end but found invalid token at character 4"),
        ("0x", "Expected the end but found invalid token at character 2"),
        ("-", "Expected value but found invalid number at character 1"),
        (".5", "Expected value but found invalid token at character 1"),
        ("\"abc", "Expected value but found unexpected end of string at character 5"),
        (r#""ab\x""#, "Expected value but found invalid escape code at character 4"),
        (r#""\u12""#, "Expected value but found invalid unicode escape code at character 2"),
        (r#""\ud800""#, "Expected value but found invalid unicode escape code at character 2"),
        (r#""\udc00""#, "Expected value but found invalid unicode escape code at character 2"),
        ("{}x", "Expected the end but found invalid token at character 3"),
    ] {
        check_error(
            &format!("return cjson.decode([==[{text}]==])"),
            &format!("ERR user_script:1: {error} @user_script:1."),
        );
    }
    check_error(
        "return cjson.decode({})",
        "ERR user_script:1: bad argument #1 to 'decode' (string expected, got table) @user_script:1.",
    );
    check("return #cjson.decode(string.rep('[',1000)..string.rep(']',1000))", Reply::Integer(1));
    check_error(
        "return cjson.decode(string.rep('[',1001)..string.rep(']',1001))",
        "ERR user_script:1: Found too many nested data structures (1001) at character 1001 @user_script:1.",
    );
}

#[test]
fn json_settings_are_forgotten_after_the_script() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let set = "cjson.encode_sparse_array(true) cjson.encode_number_precision(3) cjson.encode_invalid_numbers('null') \
               cjson.decode_invalid_numbers(false) cjson.encode_max_depth(2) \
               return {cjson.encode({[1]=1,[100]=2}), cjson.encode({3.14159, 1/0}), (pcall(cjson.decode, '0x1')), \
               (pcall(cjson.encode, {{{}}}))}";
    let expected = [bulk("{\"1\":1,\"100\":2}"), bulk("[3.14,null]"), Reply::Null, Reply::Null];
    let reply = run_with(&mut engine, &mut host, set, &[], &[]);
    let Reply::Array(items) = reply else { panic!("not an array: {reply:?}") };
    assert_eq!(items[1..], expected[1..]);
    assert!(items[0] == expected[0] || items[0] == bulk("{\"100\":2,\"1\":1}"), "{:?}", items[0]);
    let ask = "return {tostring(cjson.encode_sparse_array()), cjson.encode_max_depth(), cjson.decode_max_depth(), \
               cjson.encode_number_precision(), cjson.decode('0x10')}";
    let Reply::Array(items) = run_with(&mut engine, &mut host, ask, &[], &[]) else { panic!("not an array") };
    assert_eq!(items[1..], [1000, 1000, 14, 16].map(Reply::Integer));
    check_error(
        "cjson.decode_max_depth(1001)",
        "ERR user_script:1: bad argument #1 to 'decode_max_depth' (expected integer between 1 and 1000) @user_script:1.",
    );
}

#[test]
fn a_script_that_needs_too_much_memory_is_told_so() {
    let mut engine = Engine::new();
    engine.set_memory_limit(4 << 20);
    let mut host = Fake::default();
    for script in [
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "return ('x'):rep(100000000)",
        "local t = {} for i = 1, 100 do t[i] = redis.call('big') .. i end",
        "local s = 'x' while true do s = s .. s end",
    ] {
        let Reply::Error(error) = run_with(&mut engine, &mut host, script, &[], &[]) else { panic!("{script} ran") };
        let sha = sha1_smol::Sha1::from(script.as_bytes()).digest();
        let expected =
            format!("ERR script needs more than the 4194304 bytes of memory that Lua may hold script: {sha}");
        assert_eq!(error.line(), expected, "{script}");
        assert_eq!(run_with(&mut engine, &mut host, "return #redis.call('big')", &[], &[]), Reply::Integer(1 << 20));
        assert!(engine.memory_bytes() < 2 << 20, "{}", engine.memory_bytes());
    }
    let big = "x".repeat(5 << 20);
    let Reply::Error(error) = run_with(&mut engine, &mut host, "return 1", &[&big], &[]) else { panic!("it fitted") };
    assert!(error.line().starts_with("ERR script needs more than"), "{error}");
    check("return pcall(string.rep, 'x', 1e9)", Reply::Null);
}

#[test]
fn what_is_small_in_lua_but_huge_outside_is_refused() {
    let mut engine = Engine::new();
    engine.set_memory_limit(4 << 20);
    let mut host = Fake::default();
    let grown = "local t = {} for i = 1, 40 do t = {t, t} end";
    for (end, text) in [
        ("return t", "ERR the script's reply takes more than 4194304 bytes"),
        ("local s = ('x'):rep(1000000) return {s, s, s, s, s}", "ERR the script's reply takes more than 4194304 bytes"),
    ] {
        let script = format!("{grown} {end}");
        let reply = run_with(&mut engine, &mut host, &script, &[], &[]);
        assert_eq!(reply, Reply::Error(Error::new(text)), "{script}");
    }
    for end in ["return cjson.encode(t)", "local s = ('x'):rep(1000000) return redis.call('echo', s, s, s, s, s)"] {
        let script = format!("{grown} {end}");
        let Reply::Error(error) = run_with(&mut engine, &mut host, &script, &[], &[]) else { panic!("{script} ran") };
        assert!(error.line().contains("more memory than Lua may hold"), "{error}");
    }
}

#[test]
fn deep_and_circular_replies_end() {
    let Reply::Array(mut items) = run("local t = {} for i = 1, 120 do t = {t} end return t") else {
        panic!("no array")
    };
    let mut depth = 1;
    while let Some(Reply::Array(inner)) = items.pop() {
        items = inner;
        depth += 1;
    }
    assert_eq!(depth, 121);
    check("local t = {} t[1] = t return t", Reply::Error(Error::new("ERR reached lua stack limit")));
    check("local t = {} t.map = t return t", Reply::Error(Error::new("ERR reached lua stack limit")));
}

#[test]
fn the_c_stack_cannot_be_overrun() {
    for script in [
        "return ('a'):rep(100000):find(('a?'):rep(100000))",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() return pcall(f) end return f()",
        "local t = {} for i = 1, 100000 do t = setmetatable({}, {__index = t}) end return t.x",
        "return loadstring('return ' .. ('('):rep(100000))()",
        "local s = ('('):rep(5000) return s:find(s)",
        "return string.rep('', 1e18)",
    ] {
        run(script);
    }
}

#[test]
fn scripts_are_kept_by_their_sha() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let sha = engine.load(b"return 1").expect("it compiles");
    assert_eq!(sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    assert_eq!(engine.load(b"return 1").expect("it compiles"), sha);
    assert_eq!(engine.len(), 1);
    assert!(engine.exists(&sha) && engine.exists(&sha.to_uppercase()));
    assert_eq!(engine.source(&sha), Some(&b"return 1"[..]));
    assert_eq!(engine.run(&sha.to_uppercase(), &[], &[], &mut host), Outcome::Reply(Reply::Integer(1)));
    engine.flush();
    assert!(!engine.exists(&sha) && engine.is_empty() && engine.sources_bytes() == 0 && engine.memory_bytes() == 0);
    let reply = engine.run(&sha, &[], &[], &mut host);
    let error = Error::new("NOSCRIPT No matching script. Please use EVAL.");
    assert_eq!(reply, Outcome::Reply(Reply::Error(error)));
}

#[test]
fn generated_scripts_do_not_fill_the_memory() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let first = engine.load(b"return 'first'").expect("it compiles");
    for number in 0..COMPILED_MAX * 2 {
        engine.load(format!("return {number}").as_bytes()).expect("it compiles");
    }
    assert!(engine.compiled <= COMPILED_MAX);
    assert_eq!(engine.run(&first, &[], &[], &mut host), Outcome::Reply(bulk("first")));
    let padding = "-".repeat(8 << 20);
    for number in 0..10 {
        engine.load(format!("return {number} --{padding}").as_bytes()).expect("it compiles");
    }
    assert!(engine.sources_bytes() <= SOURCES_BYTES_MAX);
    assert!(!engine.exists(&first));
}

#[test]
fn the_first_line_may_carry_flags() {
    let mut engine = Engine::new();
    let sha = engine.load(b"#!lua flags=no-writes,allow-oom\nreturn 1").expect("it compiles");
    let flags = engine.flags(&sha).expect("it is kept");
    assert!(flags.declared && flags.no_writes && flags.allow_oom && !flags.allow_stale);
    assert_eq!(engine.run(&sha, &[], &[], &mut Fake::default()), Outcome::Reply(Reply::Integer(1)));
    check_error(
        "#!lua\n\nreturn x",
        "ERR user_script:3: Script attempted to access nonexistent global variable 'x' @user_script:3.",
    );
    for (script, text) in [
        ("#!lua flags=bad\nreturn 1", "ERR Unexpected flag in script shebang: bad"),
        ("#!lua foo=bad\nreturn 1", "ERR Unknown lua shebang option: foo=bad"),
        ("#!luax\nreturn 1", "ERR Unexpected engine in script shebang: #!luax"),
        ("#!\nreturn 1", "ERR Unexpected engine in script shebang: #!"),
        ("#!lua", "ERR Invalid script shebang"),
    ] {
        check(script, Reply::Error(Error::new(text)));
    }
    // A comment of another server is a comment.
    check("--!df flags=allow-undeclared-keys\nreturn 1", Reply::Integer(1));
}

#[test]
fn a_scheduled_job_is_popped_when_it_is_due() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let pop = "local key, now = KEYS[1], ARGV[1]
local due = redis.call('zrange', key, '-inf', now, 'byscore', 'limit', 0, 1)
if due[1] then redis.call('zrem', key, due[1]) return due[1] end";
    for (score, member) in [("30", "later"), ("10.5", "first"), ("20", "second")] {
        run_with(
            &mut engine,
            &mut host,
            "return redis.call('zadd', KEYS[1], ARGV[1], ARGV[2])",
            &["schedule"],
            &[score, member],
        );
    }
    for expected in [bulk("first"), bulk("second"), Reply::Null] {
        assert_eq!(run_with(&mut engine, &mut host, pop, &["schedule"], &["25"]), expected);
    }
}

#[test]
fn a_lock_keeps_its_owner_as_json() {
    let mut engine = Engine::new();
    let mut host = Fake::default();
    let lock = "local held = redis.call('get', KEYS[1])
if held then
  local owner = cjson.decode(held)
  if owner.jid ~= ARGV[1] then return owner.jid end
  owner.times = owner.times + 1
  redis.call('set', KEYS[1], cjson.encode(owner))
  return owner.times
end
redis.call('set', KEYS[1], cjson.encode({ jid = ARGV[1], times = 1 }))
return redis.status_reply('LOCKED')";
    let locked = Reply::Status(Bytes::from_static(b"LOCKED"));
    assert_eq!(run_with(&mut engine, &mut host, lock, &["lock"], &["a"]), locked);
    assert_eq!(run_with(&mut engine, &mut host, lock, &["lock"], &["a"]), Reply::Integer(2));
    assert_eq!(run_with(&mut engine, &mut host, lock, &["lock"], &["b"]), bulk("a"));
    let unlock = "if redis.call('get', KEYS[1]) then return redis.call('del', KEYS[1]) else return 0 end";
    assert_eq!(run_with(&mut engine, &mut host, unlock, &["lock"], &[]), Reply::Integer(1));
    assert_eq!(run_with(&mut engine, &mut host, unlock, &["lock"], &[]), Reply::Integer(0));
}
