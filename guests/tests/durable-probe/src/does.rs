//! What is done without waiting for a promise.

use std::hint::black_box;
use std::time::SystemTime;

use guesthouse_guest::detached;
use guesthouse_guest::durable::{Bytes, Failure, current, state};
use momento_functions_guest_web::WebEnvironment;
use momento_functions_http::{self as http, Request};
use momento_functions_spawn::spawn;
use momento_functions_topic::publish;
use serde_json::{Value, json};

use crate::script::{Http, Op};
use crate::{End, Probe, readable, told};

impl Probe {
    pub fn does(&mut self, operation: Op) -> Value {
        match operation {
            Op::Get(name) => told(state::get::<Bytes>(&name).map(value)),
            Op::Set(name, value) => none(state::set(&name, &self.filled(value))),
            Op::Clear(name) => none(state::clear(&name)),
            Op::ClearAll => none(state::clear_all()),
            Op::Names => told(state::names().map(Value::from)),
            Op::Clock => milliseconds().into(),
            Op::Random => random().into(),
            Op::Env(name) => std::env::var(name).ok().into(),
            Op::Current => {
                let current = current();
                json!({"key": current.key, "attempt": current.attempt, "durable": current.durable})
            }
            Op::MyId => current().id.into(),
            Op::Http(order) => self.http(order),
            Op::Spawn(name, payload) => or_error(spawn(name, self.filled(payload).to_string())),
            Op::Publish(topic, text) => or_error(publish(topic, self.text(&text))),
            #[cfg(feature = "cache")]
            Op::CacheSet(..) | Op::CacheGet(_) | Op::CacheDelete(_) => cached(operation),
            Op::Print(text) => {
                println!("{}", self.text(&text));
                Value::Null
            }
            Op::Detached(name, operations) => {
                let work = move || Probe::default().all(operations).map(drop).map_err(ended);
                json!({ "ok": detached(&name, work) })
            }
            Op::Request(name) => WebEnvironment::load().headers().get(&name).cloned().into(),
            Op::Value(value) => self.filled(value),
            Op::Trap => panic!("asked to"),
            Op::Spin => spin(),
            _ => unreachable!("it is done elsewhere"),
        }
    }

    fn http(&self, order: Http) -> Value {
        let request = Request::new(self.text(&order.url), order.verb)
            .with_headers(order.headers)
            .with_body(self.text(&order.body));
        match http::invoke(request) {
            Ok(response) => {
                json!({"status": response.status, "body": readable(response.body.into_bytes())})
            }
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    /// A value with what `$id:0`, `$sent` and `$last` stand for in its texts.
    pub fn filled(&self, value: Value) -> Value {
        match value {
            Value::String(text) if text == "$last" => self.last.clone(),
            Value::String(text) => self.text(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.filled(item)).collect(),
            Value::Object(items) => {
                let items = items.into_iter();
                items
                    .map(|(name, item)| (name, self.filled(item)))
                    .collect()
            }
            other => other,
        }
    }

    /// A text with what they stand for.
    pub fn text(&self, text: &str) -> String {
        let mut filled = text.replace("$sent", &self.sent);
        if filled.contains("$last") {
            filled = filled.replace("$last", &self.last.to_string());
        }
        while let Some(place) = filled.find("$id:") {
            let digits = filled[place + 4..]
                .bytes()
                .take_while(u8::is_ascii_digit)
                .count();
            let end = place + 4 + digits;
            let number: usize = filled[place + 4..end]
                .parse()
                .expect("a number follows $id:");
            filled.replace_range(place..end, &self.promise(number).id());
        }
        filled
    }
}

fn value(found: Option<Bytes>) -> Value {
    found.map_or(Value::Null, |Bytes(bytes)| readable(bytes))
}

fn none(result: Result<(), Failure>) -> Value {
    told(result.map(|()| Value::Null))
}

fn or_error<E: std::fmt::Display>(result: Result<(), E>) -> Value {
    match result {
        Ok(()) => json!({ "ok": null }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn ended(end: End) -> String {
    match end {
        End::Answer(_) => "it answered",
        End::Fail(_) => "it failed",
    }
    .into()
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

#[cfg(target_os = "wasi")]
fn random() -> Option<u64> {
    getrandom::u64().ok()
}

#[cfg(not(target_os = "wasi"))]
fn random() -> Option<u64> {
    None
}

#[cfg(feature = "cache")]
fn cached(operation: Op) -> Value {
    use momento_functions_cache as cache;
    match operation {
        Op::CacheSet(key, value) => or_error(cache::set(
            key,
            value,
            std::time::Duration::from_secs(3_600),
        )),
        Op::CacheGet(key) => match cache::get::<String>(key) {
            Ok(found) => found.into(),
            Err(error) => json!({ "error": error.to_string() }),
        },
        Op::CacheDelete(key) => or_error(cache::delete(key)),
        _ => unreachable!("it is no operation of the cache"),
    }
}

fn spin() -> ! {
    let mut count = 0u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}
