//! Answers the environment variables: those of the deployment and the host's own three,
//! `__CACHE_NAME`, `__FUNCTION_NAME` and `__INVOCATION_ID`. `/environment/NAME` answers one of them.

use std::collections::BTreeMap;
use std::env;

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, invoke};
use serde_json::{Value, json};

invoke!(environment);
fn environment(_: Data) -> Value {
    match WebEnvironment::load().http_path() {
        "" => json!(env::vars().collect::<BTreeMap<_, _>>()),
        name => json!(env::var(name).ok()),
    }
}
