//! Makes a disposable token as its JSON body says, and answers `[api_key, endpoint, valid_until, permissions]`
//! or `{"error": [case, text]}`:
//!
//! ```json
//! {"seconds": 60, "token_id": "me", "permissions": [["cache", "read_write", [["cache", "shop"], ["key", [1, 2]]]]]}
//! {"seconds": 60, "raw": "{...}"}
//! ```

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebEnvironment, invoke};
use momento_functions_token::wit::momento::token::token::{self, Expires, TokenError};
use momento_functions_token::{
    CachePermissions, FunctionPermissions, GenerateDisposableTokenError, Permissions,
    TopicPermissions, generate_disposable_token,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    seconds: u32,
    token_id: Option<String>,
    #[serde(default)]
    permissions: Vec<Entry>,
    raw: Option<String>,
}

/// What a permission is about, how it is made, and what is then done to it.
#[derive(Deserialize)]
struct Entry(String, String, Vec<(String, Value)>);

fn value<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn text(text: Value) -> String {
    value(text)
}

fn cache(made: &str, steps: Vec<(String, Value)>) -> CachePermissions {
    let made = match made {
        "read_write" => CachePermissions::read_write(),
        "read_only" => CachePermissions::read_only(),
        "write_only" => CachePermissions::write_only(),
        _ => CachePermissions::new(),
    };
    steps
        .into_iter()
        .fold(made, |made, (step, given)| match step.as_str() {
            "role" => made.with_role(value(given)),
            "all_caches" => made.with_all_caches(),
            "cache" => made.with_cache(text(given)),
            "all_items" => made.with_all_items(),
            "key" => made.with_key(value::<Vec<u8>>(given)),
            _ => made.with_key_prefix(value::<Vec<u8>>(given)),
        })
}

fn topic(made: &str, steps: Vec<(String, Value)>) -> TopicPermissions {
    let made = match made {
        "read_write" => TopicPermissions::read_write(),
        "read_only" => TopicPermissions::read_only(),
        "write_only" => TopicPermissions::write_only(),
        _ => TopicPermissions::new(),
    };
    steps
        .into_iter()
        .fold(made, |made, (step, given)| match step.as_str() {
            "role" => made.with_role(value(given)),
            "all_caches" => made.with_all_caches(),
            "cache" => made.with_cache(text(given)),
            "all_topics" => made.with_all_topics(),
            "topic" => made.with_topic(text(given)),
            _ => made.with_topic_prefix(text(given)),
        })
}

fn function(made: &str, steps: Vec<(String, Value)>) -> FunctionPermissions {
    let made = match made {
        "invoke" => FunctionPermissions::invoke(),
        _ => FunctionPermissions::new(),
    };
    steps
        .into_iter()
        .fold(made, |made, (step, given)| match step.as_str() {
            "role" => made.with_role(value(given)),
            "all_caches" => made.with_all_caches(),
            "cache" => made.with_cache(text(given)),
            "all_functions" => made.with_all_functions(),
            "function" => made.with_function(text(given)),
            _ => made.with_function_prefix(text(given)),
        })
}

fn permissions(entries: Vec<Entry>) -> Permissions {
    let none = Permissions::new();
    entries
        .into_iter()
        .fold(none, |all, Entry(about, made, steps)| {
            match about.as_str() {
                "cache" => all.with_cache(cache(&made, steps)),
                "topic" => all.with_topic(topic(&made, steps)),
                _ => all.with_function(function(&made, steps)),
            }
        })
}

fn error(error: &TokenError) -> Value {
    match error {
        TokenError::InternalError => json!({ "error": ["internal-error", null] }),
        TokenError::InvalidArgument(why) => json!({ "error": ["invalid-argument", why] }),
        TokenError::PermissionDenied(why) => json!({ "error": ["permission-denied", why] }),
        TokenError::LimitExceeded(why) => json!({ "error": ["limit-exceeded", why] }),
    }
}

/// Sends the text as it is, past the types of the SDK.
fn raw(text: &str, request: &Request) -> Value {
    let expires = Expires {
        valid_for_seconds: request.seconds,
    };
    match token::generate_disposable_token(expires, text, request.token_id.as_deref()) {
        Ok(made) => json!([made.api_key, made.endpoint, made.valid_until]),
        Err(why) => error(&why),
    }
}

fn generate(request: Request) -> Value {
    if let Some(text) = &request.raw {
        return raw(text, &request);
    }
    let permissions = permissions(request.permissions);
    let sent = json!(permissions);
    match generate_disposable_token(request.seconds, permissions, request.token_id) {
        Ok(made) => json!([made.api_key, made.endpoint, made.valid_until, sent]),
        Err(GenerateDisposableTokenError::TokenError(why)) => error(&why),
    }
}

invoke!(token_calls);
fn token_calls(Json(request): Json<Value>) -> Value {
    if request.is_null() {
        return json!(WebEnvironment::load().token_metadata());
    }
    generate(value(request))
}
