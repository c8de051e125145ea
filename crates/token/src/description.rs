/// A text as an `error_description` may have it: printable ASCII without quote and backslash, which become `'`; all else becomes
/// `?` ([RFC 6749 §5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2),
/// [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3)).
pub fn description(text: &str) -> String {
    let plain = |letter: char| match letter {
        '"' | '\\' => '\'',
        ' '..='~' => letter,
        _ => '?',
    };
    text.chars().map(plain).collect()
}
