//! Splitting `start_opts` into words, without a shell.

/// Splits at blanks; single and double quotes group, a backslash takes the next character literally.
/// Nothing is expanded. `None` when a quote is not closed.
pub(super) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().push(chars.next()?),
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::split;
    use proptest::prelude::*;

    #[test]
    fn options_as_people_write_them() {
        let words = |text| split(text).unwrap();
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words(" -c  config_file=/etc/pg.conf "), ["-c", "config_file=/etc/pg.conf"]);
        assert_eq!(words("-c 'a b=\"c\"' -c \"d\\\"e\" ''"), ["-c", "a b=\"c\"", "-c", "d\"e", ""]);
    }

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(split("$(id) `id`;id|id&").unwrap(), ["$(id)", "`id`;id|id&"]);
    }

    #[test]
    fn an_open_quote_is_no_list_of_words() {
        for text in ["'a", "\"a", "a\\"] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in ".*") {
            let _ = split(&text);
        }
    }
}
