//! `Refusal`: what a function answers that has failed.

use std::time::Duration;

use super::{Error, Failure};

/// The header by which an answer says whether it may be tried again.
pub(super) const HEADER: &str = "guesthouse-error";
/// Of a terminal failure that has no status of its own.
const UNPROCESSABLE: u16 = 422;

/// How an [`Error`] is answered over HTTP: `Answer` does that; this is for whoever makes answers in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 500, 429, or the status of a failure.
    pub status: u16,
    /// Names and values, among them `guesthouse-error`.
    pub headers: Vec<(&'static str, String)>,
    /// Why.
    pub body: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Temporary {
                message,
                retry_after,
            } => Self::text(500, message)
                .with(HEADER, Some("temporary".into()))
                .with("retry-after", retry_after.map(seconds)),
            Error::Throttled {
                message,
                retry_after,
            } => Self::text(429, message)
                .with(HEADER, Some("temporary".into()))
                .with("retry-after", retry_after.map(seconds)),
            Error::Terminal(failure) => Self::terminal(failure),
        }
    }
}

impl Refusal {
    fn text(status: u16, body: String) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".into())];
        Self {
            status,
            headers,
            body,
        }
    }

    fn terminal(failure: Failure) -> Self {
        let status = match failure.code {
            400..600 => failure.code,
            _ => UNPROCESSABLE,
        };
        let refusal = match failure.metadata.is_empty() {
            true => Self::text(status, failure.message),
            false => Self {
                status,
                headers: vec![("content-type", "application/json".into())],
                body: json(&failure),
            },
        };
        refusal.with(HEADER, Some("terminal".into()))
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }
}

/// Whole seconds, rounded up: the header knows no parts of them.
fn seconds(wait: Duration) -> String {
    (wait.as_nanos().div_ceil(1_000_000_000)).to_string()
}

fn json(failure: &Failure) -> String {
    let pairs = failure.metadata.iter();
    let pairs: Vec<String> = pairs
        .map(|(name, value)| format!("[{},{}]", quoted(name), quoted(value)))
        .collect();
    let message = quoted(&failure.message);
    format!(
        r#"{{"message":{message},"metadata":[{}]}}"#,
        pairs.join(",")
    )
}

/// A JSON string: written here so that a guest without the feature `json` needs no serde.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\0'..' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(error: impl Into<Error>) -> (u16, String, String) {
        let refusal = Refusal::from(error.into());
        let headers: Vec<String> = refusal.headers[1..]
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        (refusal.status, headers.join(", "), refusal.body)
    }

    #[test]
    fn an_error_says_whether_it_may_be_tried_again() {
        let wait = Duration::from_millis(1_200);
        let cases = [
            (Error::temporary("a"), 500, "guesthouse-error: temporary"),
            (
                Error::temporary("a").retry_after(wait),
                500,
                "guesthouse-error: temporary, retry-after: 2",
            ),
            (
                Error::throttled("a").retry_after(wait),
                429,
                "guesthouse-error: temporary, retry-after: 2",
            ),
            (Error::terminal("a"), 422, "guesthouse-error: terminal"),
            (
                Failure::new("a").with_code(402).into(),
                402,
                "guesthouse-error: terminal",
            ),
        ];
        for (error, status, headers) in cases {
            assert_eq!(refusal(error), (status, headers.into(), "a".into()));
        }
    }

    #[test]
    fn a_status_that_is_no_error_is_none_of_a_failure() {
        for code in [0, 200, 399, 600] {
            assert_eq!(refusal(Failure::new("a").with_code(code)).0, 422);
        }
    }

    #[test]
    fn metadata_is_told_as_json() {
        let (_, _, body) = refusal(Failure::new("say \"no\"\n").with("a\\", "ü"));
        assert_eq!(
            body,
            "{\"message\":\"say \\\"no\\\"\\u000a\",\"metadata\":[[\"a\\\\\",\"ü\"]]}"
        );
    }
}
