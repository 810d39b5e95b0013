//! Replies as clients read them, in the protocol of each.

use super::{Protocol, Reply, format_double};

/// Appends `reply` to `output` in the client's protocol.
///
/// Recursion follows the nesting of the reply, which commands build themselves and keep shallow.
pub fn encode(reply: &Reply, protocol: Protocol, output: &mut Vec<u8>) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Ok => output.extend_from_slice(b"+OK\r\n"),
        Reply::Status(text) => line(b'+', text, output),
        Reply::Error(error) => line(b'-', error.line().as_bytes(), output),
        Reply::Integer(value) => header_signed(b':', *value, output),
        Reply::Double(value) => double(*value, resp3, output),
        Reply::Bulk(bytes) => bulk(bytes, output),
        Reply::Verbatim(text) if resp3 => {
            header(b'=', text.len() + VERBATIM_FORMAT.len(), output);
            output.extend_from_slice(VERBATIM_FORMAT);
            output.extend_from_slice(text);
            output.extend_from_slice(b"\r\n");
        }
        Reply::Verbatim(text) => bulk(text, output),
        Reply::Null | Reply::NullArray if resp3 => output.extend_from_slice(b"_\r\n"),
        Reply::Null => output.extend_from_slice(b"$-1\r\n"),
        Reply::NullArray => output.extend_from_slice(b"*-1\r\n"),
        Reply::Array(replies) => sequence(b'*', replies, protocol, output),
        Reply::Set(replies) => sequence(if resp3 { b'~' } else { b'*' }, replies, protocol, output),
        Reply::Push(replies) => sequence(if resp3 { b'>' } else { b'*' }, replies, protocol, output),
        Reply::Map(pairs) => {
            if resp3 {
                header(b'%', pairs.len(), output);
            } else {
                header(b'*', pairs.len() * 2, output);
            }
            for (key, value) in pairs {
                encode(key, protocol, output);
                encode(value, protocol, output);
            }
        }
        Reply::Pairs(pairs) => {
            header(b'*', if resp3 { pairs.len() } else { pairs.len() * 2 }, output);
            for (first, second) in pairs {
                if resp3 {
                    header(b'*', 2, output);
                }
                encode(first, protocol, output);
                encode(second, protocol, output);
            }
        }
        Reply::Scored(members) => {
            header(b'*', if resp3 { members.len() } else { members.len() * 2 }, output);
            for (member, score) in members {
                if resp3 {
                    header(b'*', 2, output);
                }
                bulk(member, output);
                double(*score, resp3, output);
            }
        }
        Reply::Many(replies) => replies.iter().for_each(|reply| encode(reply, protocol, output)),
        Reply::Silent => {}
    }
}

/// The only format of a verbatim string that Redis sends.
const VERBATIM_FORMAT: &[u8] = b"txt:";

fn sequence(kind: u8, replies: &[Reply], protocol: Protocol, output: &mut Vec<u8>) {
    header(kind, replies.len(), output);
    for reply in replies {
        encode(reply, protocol, output);
    }
}

fn line(kind: u8, text: &[u8], output: &mut Vec<u8>) {
    output.push(kind);
    output.extend_from_slice(text);
    output.extend_from_slice(b"\r\n");
}

fn bulk(bytes: &[u8], output: &mut Vec<u8>) {
    header(b'$', bytes.len(), output);
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

fn double(value: f64, resp3: bool, output: &mut Vec<u8>) {
    let text = format_double(value);
    if resp3 { line(b',', text.as_bytes(), output) } else { bulk(text.as_bytes(), output) }
}

fn header(kind: u8, count: usize, output: &mut Vec<u8>) {
    number_line(kind, false, count as u64, output);
}

fn header_signed(kind: u8, value: i64, output: &mut Vec<u8>) {
    number_line(kind, value < 0, value.unsigned_abs(), output);
}

/// The kind, a sign, the 20 digits of the largest number, and the line end.
const NUMBER_LINE_BYTES_MAX: usize = 24;

/// Writes the line from its end, so that the number of digits need not be known.
fn number_line(kind: u8, negative: bool, mut value: u64, output: &mut Vec<u8>) {
    let mut text = [0; NUMBER_LINE_BYTES_MAX];
    let mut start = NUMBER_LINE_BYTES_MAX - 2;
    text[start..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        text[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if negative {
        start -= 1;
        text[start] = b'-';
    }
    start -= 1;
    text[start] = kind;
    output.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use redis_protocol::resp2::types::BytesFrame as Frame2;
    use redis_protocol::resp3::types::{BytesFrame as Frame3, FrameMap, VerbatimStringFormat};

    use super::*;
    use crate::resp::Error;

    fn encoded(reply: &Reply, protocol: Protocol) -> Vec<u8> {
        let mut output = Vec::new();
        encode(reply, protocol, &mut output);
        output
    }

    fn check(reply: Reply, resp2: &str, resp3: &str) {
        assert_eq!(String::from_utf8(encoded(&reply, Protocol::Resp2)).unwrap(), resp2, "{reply:?} in RESP2");
        assert_eq!(String::from_utf8(encoded(&reply, Protocol::Resp3)).unwrap(), resp3, "{reply:?} in RESP3");
    }

    #[test]
    fn every_shape_is_written_in_both_protocols() {
        let pair = || vec![Reply::bulk("a"), Reply::Integer(1)];
        check(Reply::Ok, "+OK\r\n", "+OK\r\n");
        check(Reply::status("PONG"), "+PONG\r\n", "+PONG\r\n");
        check(Reply::Error(Error::SYNTAX), "-ERR syntax error\r\n", "-ERR syntax error\r\n");
        check(Reply::Integer(-120), ":-120\r\n", ":-120\r\n");
        check(Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n");
        check(Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n");
        check(Reply::Double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
        check(Reply::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(Reply::bulk("hello"), "$5\r\nhello\r\n", "$5\r\nhello\r\n");
        check(Reply::bulk(""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(Reply::Verbatim(Bytes::from_static(b"text")), "$4\r\ntext\r\n", "=8\r\ntxt:text\r\n");
        check(Reply::Null, "$-1\r\n", "_\r\n");
        check(Reply::NullArray, "*-1\r\n", "_\r\n");
        check(Reply::Array(pair()), "*2\r\n$1\r\na\r\n:1\r\n", "*2\r\n$1\r\na\r\n:1\r\n");
        check(Reply::Array(vec![]), "*0\r\n", "*0\r\n");
        check(
            Reply::Map(vec![(Reply::bulk("a"), Reply::Integer(1))]),
            "*2\r\n$1\r\na\r\n:1\r\n",
            "%1\r\n$1\r\na\r\n:1\r\n",
        );
        check(
            Reply::Pairs(vec![(Reply::bulk("a"), Reply::Integer(1))]),
            "*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        );
        check(Reply::Map(vec![]), "*0\r\n", "%0\r\n");
        check(Reply::Set(pair()), "*2\r\n$1\r\na\r\n:1\r\n", "~2\r\n$1\r\na\r\n:1\r\n");
        check(Reply::Push(pair()), "*2\r\n$1\r\na\r\n:1\r\n", ">2\r\n$1\r\na\r\n:1\r\n");
        check(
            Reply::Scored(vec![(Bytes::from_static(b"m"), 1.5)]),
            "*2\r\n$1\r\nm\r\n$3\r\n1.5\r\n",
            "*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n",
        );
        check(Reply::Many(vec![Reply::Ok, Reply::Null]), "+OK\r\n$-1\r\n", "+OK\r\n_\r\n");
        check(Reply::Silent, "", "");
    }

    /// Any reply that stands alone. RESP3 maps and sets hold each key once.
    fn any_reply() -> impl Strategy<Value = Reply> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        let text = "[a-zA-Z ]{1,12}";
        let double = || any::<i32>().prop_map(|value| f64::from(value) / 8.0);
        let leaf = prop_oneof![
            Just(Reply::Ok),
            Just(Reply::Null),
            Just(Reply::NullArray),
            text.prop_map(|text| Reply::Status(text.into())),
            text.prop_map(|text| Reply::Error(Error::new(text))),
            any::<i64>().prop_map(Reply::Integer),
            double().prop_map(Reply::Double),
            bytes().prop_map(Reply::Bulk),
            text.prop_map(|text| Reply::Verbatim(text.into())),
            proptest::collection::vec((bytes(), double()), 0..4).prop_map(Reply::Scored),
        ];
        let distinct = |count: usize| (0..count).map(|index| Reply::Integer(index as i64));
        leaf.prop_recursive(3, 20, 4, move |inner| {
            let many = || proptest::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                many().prop_map(Reply::Array),
                (0..4_usize).prop_map(move |count| Reply::Set(distinct(count).collect())),
                many().prop_map(move |values| Reply::Pairs(distinct(values.len()).zip(values).collect())),
                many().prop_map(move |values| Reply::Map(distinct(values.len()).zip(values).collect())),
            ]
        })
    }

    /// What a RESP2 client should understand.
    fn in_resp2(reply: &Reply) -> Frame2 {
        let bulk = |text: String| Frame2::BulkString(text.into());
        let array = |replies: &[Reply]| Frame2::Array(replies.iter().map(in_resp2).collect());
        match reply {
            Reply::Ok => Frame2::SimpleString("OK".into()),
            Reply::Status(text) => Frame2::SimpleString(text.clone()),
            Reply::Error(error) => Frame2::Error(error.line().into()),
            Reply::Integer(value) => Frame2::Integer(*value),
            Reply::Double(value) => bulk(format_double(*value)),
            Reply::Bulk(bytes) | Reply::Verbatim(bytes) => Frame2::BulkString(bytes.clone()),
            Reply::Null | Reply::NullArray => Frame2::Null,
            Reply::Array(replies) | Reply::Set(replies) | Reply::Push(replies) => array(replies),
            Reply::Map(pairs) | Reply::Pairs(pairs) => {
                Frame2::Array(pairs.iter().flat_map(|(key, value)| [in_resp2(key), in_resp2(value)]).collect())
            }
            Reply::Scored(members) => Frame2::Array(
                members
                    .iter()
                    .flat_map(|(member, score)| [Frame2::BulkString(member.clone()), bulk(format_double(*score))])
                    .collect(),
            ),
            Reply::Many(_) | Reply::Silent => unreachable!("does not stand alone"),
        }
    }

    /// What a RESP3 client should understand.
    fn in_resp3(reply: &Reply) -> Frame3 {
        let array = |data| Frame3::Array { data, attributes: None };
        let bulk = |data: &Bytes| Frame3::BlobString { data: data.clone(), attributes: None };
        let double = |data| Frame3::Double { data, attributes: None };
        match reply {
            Reply::Ok => Frame3::SimpleString { data: "OK".into(), attributes: None },
            Reply::Status(text) => Frame3::SimpleString { data: text.clone(), attributes: None },
            Reply::Error(error) => Frame3::SimpleError { data: error.line().into(), attributes: None },
            Reply::Integer(value) => Frame3::Number { data: *value, attributes: None },
            Reply::Double(value) => double(*value),
            Reply::Bulk(bytes) => bulk(bytes),
            Reply::Verbatim(text) => {
                Frame3::VerbatimString { data: text.clone(), format: VerbatimStringFormat::Text, attributes: None }
            }
            Reply::Null | Reply::NullArray => Frame3::Null,
            Reply::Array(replies) => array(replies.iter().map(in_resp3).collect()),
            Reply::Set(replies) => Frame3::Set { data: replies.iter().map(in_resp3).collect(), attributes: None },
            Reply::Map(pairs) => {
                let data: FrameMap<Frame3, Frame3> =
                    pairs.iter().map(|(key, value)| (in_resp3(key), in_resp3(value))).collect();
                Frame3::Map { data, attributes: None }
            }
            Reply::Pairs(pairs) => {
                array(pairs.iter().map(|(first, second)| array(vec![in_resp3(first), in_resp3(second)])).collect())
            }
            Reply::Scored(members) => {
                array(members.iter().map(|(member, score)| array(vec![bulk(member), double(*score)])).collect())
            }
            Reply::Push(_) | Reply::Many(_) | Reply::Silent => unreachable!("does not stand alone"),
        }
    }

    proptest! {
        #[test]
        fn another_implementation_reads_the_same_value(reply in any_reply()) {
            let resp2 = Bytes::from(encoded(&reply, Protocol::Resp2));
            let (frame, read) = redis_protocol::resp2::decode::decode_bytes(&resp2).unwrap().expect("complete");
            prop_assert_eq!((frame, read), (in_resp2(&reply), resp2.len()));

            let resp3 = Bytes::from(encoded(&reply, Protocol::Resp3));
            let (frame, read) = redis_protocol::resp3::decode::complete::decode_bytes(&resp3).unwrap().expect("complete");
            prop_assert_eq!((frame, read), (in_resp3(&reply), resp3.len()));
        }
    }
}
