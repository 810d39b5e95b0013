//! Glob patterns as Redis matches them (KEYS, SCAN MATCH, PSUBSCRIBE): `* ? [a-z] [^a] \x`.

/// Tells whether a text matches a pattern. Costs pattern × text at the worst.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when a guess at a `*` fails: behind the star, and one further in the text.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        if p < pattern.len() {
            if pattern[p] == b'*' {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            if t < text.len()
                && let Some(next) = one(pattern, p, text[t])
            {
                p = next;
                t += 1;
                continue;
            }
        }
        match star {
            Some((after, begun)) if begun < text.len() => {
                star = Some((after, begun + 1));
                (p, t) = (after, begun + 1);
            }
            _ => return false,
        }
    }
    true
}

/// Matches one character with the element at `p`; answers where the next element begins.
fn one(pattern: &[u8], p: usize, character: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, character),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == character).then_some(p + 2),
        literal => (literal == character).then_some(p + 1),
    }
}

fn class(pattern: &[u8], mut p: usize, character: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p) {
            // A class that is not closed ends with the pattern, as in Redis.
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                found |= pattern[p + 1] == character;
                p += 2;
            }
            Some(low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                let (low, high) = (*low.min(&pattern[p + 2]), *low.max(&pattern[p + 2]));
                found |= (low..=high).contains(&character);
                p += 3;
            }
            Some(literal) => {
                found |= *literal == character;
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let yes: &[(&str, &str)] = &[
            ("*", ""),
            ("h?llo", "hello"),
            ("h*llo", "heeeello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("queue:*", "queue:default"),
            ("*:*:x", "a:b:c:x"),
            ("\\*a", "*a"),
        ];
        let no: &[(&str, &str)] =
            &[("h?llo", "hllo"), ("h[^e]llo", "hello"), ("a", "ab"), ("ab", "a"), ("\\*a", "ba"), ("", "a")];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        assert!(!matches("*a".repeat(60).as_bytes(), "a".repeat(59).as_bytes()));
    }
}
