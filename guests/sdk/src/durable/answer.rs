//! `Answer`: how a function that may fail answers, with the published macros.

use super::Error;

/// What a function returns that answers with a `T`, or fails as its [`Error`] says: a `Result` turns into it.
///
/// ```no_run
/// # #[cfg(feature = "web")]
/// # mod guest {
/// use guesthouse_guest::durable::{self, Answer, Error, call};
/// use momento_functions_bytes::encoding::Json;
/// use momento_functions_guest_web::invoke;
///
/// invoke!(order);
/// fn order(Json(item): Json<String>) -> Answer<Json<u64>> {
///     price(&item).map(Json).into()
/// }
///
/// fn price(item: &str) -> durable::Result<u64> {
///     match item {
///         "" => Err(Error::terminal("there is nothing to order")),
///         _ => Ok(call("price", item).wait()?),
///     }
/// }
/// # }
/// # fn main() {}
/// ```
///
/// It goes with `invoke!` of the published `momento-functions-guest-web` (feature `web`), `post!` of the older `momento-functions`
/// (feature `old-web`) and `spawn!` of `momento-functions-guest-spawn` (feature `spawn`; there `Answer<()>`).
///
/// | error | status | headers |
/// |---|---|---|
/// | temporary | 500 | `guesthouse-error: temporary`, `retry-after` if it has one |
/// | throttled | 429 | `guesthouse-error: temporary`, `retry-after` if it has one |
/// | terminal | that of the failure, otherwise 422 | `guesthouse-error: terminal` |
///
/// The body is the reason, as text; of a failure with metadata it is JSON: `{"message": …, "metadata": [[name, value], …]}`.
/// A spawn function has no headers: its note is the reason, behind `guesthouse-error: terminal: ` if that is final.
#[derive(Debug)]
pub struct Answer<T>(Result<T, Error>);

impl<T, E: Into<Error>> From<Result<T, E>> for Answer<T> {
    fn from(result: Result<T, E>) -> Self {
        Self(result.map_err(Into::into))
    }
}

#[cfg(feature = "web")]
mod web {
    use momento_functions_bytes::Data;
    use momento_functions_guest_web::IntoWebResponse;
    use momento_functions_guest_web::wit::exports::momento::web_function::guest_function_web::{
        Header, Response,
    };

    use super::super::Refusal;
    use super::Answer;

    impl<T: IntoWebResponse> IntoWebResponse for Answer<T> {
        fn response(self) -> Response {
            self.0
                .map_or_else(|error| refused(error.into()), T::response)
        }
    }

    fn refused(refusal: Refusal) -> Response {
        let header = |(name, value): (&str, String)| Header {
            name: name.into(),
            value,
        };
        Response {
            status: refusal.status,
            headers: refusal.headers.into_iter().map(header).collect(),
            body: Data::from(refusal.body).into(),
        }
    }
}

#[cfg(feature = "old-web")]
mod old_web {
    use momento_functions::IntoWebResponse;
    use momento_functions_wit::function_web::exports::momento::functions::guest_function_web::{
        Header, Response,
    };

    use super::super::Refusal;
    use super::Answer;

    impl<T: IntoWebResponse> IntoWebResponse for Answer<T> {
        fn response(self) -> Response {
            self.0
                .map_or_else(|error| refused(error.into()), T::response)
        }
    }

    fn refused(refusal: Refusal) -> Response {
        let header = |(name, value): (&str, String)| Header {
            name: name.into(),
            value,
        };
        Response {
            status: refusal.status,
            headers: refusal.headers.into_iter().map(header).collect(),
            body: refusal.body.into_bytes(),
        }
    }
}

#[cfg(feature = "spawn")]
mod spawn {
    use momento_functions_guest_spawn::{IntoSpawnResult, SpawnFailure, SpawnSuccess};

    use super::super::refusal::HEADER;
    use super::{Answer, Error};

    impl IntoSpawnResult for Answer<()> {
        fn into_spawn_result(self) -> Result<SpawnSuccess, SpawnFailure> {
            let note = |error: Error| match error {
                Error::Terminal(failure) => format!("{HEADER}: terminal: {failure}"),
                other => other.to_string(),
            };
            self.0
                .map(|()| SpawnSuccess::Ok)
                .map_err(|error| SpawnFailure::FailedNote(note(error)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::Failure;

    #[cfg(feature = "web")]
    #[test]
    fn a_web_function_answers_so() {
        use momento_functions_guest_web::IntoWebResponse;
        let answer: Answer<&str> = Ok::<_, Error>("fine").into();
        assert_eq!(answer.response().status, 200);
        let answer: Answer<&str> = Err(Failure::new("no").with_code(409)).into();
        assert_eq!(answer.response().status, 409);
    }

    #[cfg(feature = "spawn")]
    #[test]
    fn a_spawn_function_notes_so() {
        use momento_functions_guest_spawn::{IntoSpawnResult, SpawnFailure};
        let answer: Answer<()> = Err(Failure::new("no")).into();
        let note = answer.into_spawn_result().unwrap_err();
        assert!(
            matches!(note, SpawnFailure::FailedNote(text) if text == "guesthouse-error: terminal: no")
        );
    }
}
