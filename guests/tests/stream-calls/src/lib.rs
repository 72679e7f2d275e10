//! Calls the streaming functions as `?do=` lists them, in that order:
//! `[{"start":[200,[["x-a","1"]]]},{"data":"text"},{"sse":{"event":"e","id":"1","data":"d"}}]`.
//!
//! `{"body":"data"}` and `{"body":"sse"}` send the request's body unread, `{"bytes":[255]}` what is no
//! text, `{"sse_bytes":[255]}` the same as an event, `{"repeat":[1000,65536]}` so many chunks of that
//! size, `{"events":1000}` so many events, `{"headers":1}` that many headers in a start. `"spin"`
//! computes for ever, `"sleep"` sleeps for a day, `"trap"` traps. What each call answered is
//! published to the topic `stream-calls`. `{"end":[500,"no"]}` is what is returned in the end.

use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use momento_functions_bytes::Data;
use momento_functions_guest_web::wit::momento::web_function::web_function_stream::{
    send_data, send_response_start, send_sse,
};
use momento_functions_guest_web::wit::momento::web_function::web_function_support::Header;
use momento_functions_guest_web::{WebEnvironment, WebResponse, WebResult, invoke};
use momento_functions_topic::publish;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Start(u16, Vec<(String, String)>),
    Headers(usize),
    Data(String),
    Bytes(Vec<u8>),
    Sse(Event),
    SseBytes(Vec<u8>),
    SseSize(usize),
    Body(String),
    Repeat(usize, usize),
    Events(usize),
    End(u16, String),
    EndSize(u16, usize),
    Spin,
    Sleep,
    Trap,
}

#[derive(Deserialize)]
struct Event {
    event: Option<String>,
    id: Option<String>,
    data: Option<String>,
}

fn data(bytes: impl Into<Data>) -> momento_functions_bytes::wit::momento::bytes::bytes::Data {
    bytes.into().into()
}

fn start(status: u16, headers: Vec<(String, String)>) -> Result<(), String> {
    let headers: Vec<Header> = headers.into_iter().map(Into::into).collect();
    send_response_start(status, &headers)
}

fn sse(event: Event) -> Result<(), String> {
    let Event {
        event,
        id,
        data: text,
    } = event;
    send_sse(event.as_deref(), id.as_deref(), text.map(data))
}

fn spin() -> ! {
    let mut count = 0u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

invoke!(stream_calls);
fn stream_calls(body: Data) -> WebResult<WebResponse> {
    let mut body = Some(body);
    let steps = WebEnvironment::load().query_parameters().get("do");
    let steps: Vec<Step> = serde_json::from_str(steps.map_or("[]", String::as_str))?;
    for step in steps {
        let result = match step {
            Step::Start(status, headers) => start(status, headers),
            Step::Headers(count) => start(200, vec![("x-a".into(), "1".into()); count]),
            Step::Data(text) => send_data(data(text)),
            Step::Bytes(bytes) => send_data(data(bytes)),
            Step::Sse(event) => sse(event),
            Step::SseBytes(bytes) => send_sse(None, None, Some(data(bytes))),
            Step::SseSize(size) => send_sse(None, None, Some(data(vec![b'x'; size]))),
            Step::Body(kind) => {
                let body = body.take().unwrap_or_else(|| "".into()).into();
                match kind.as_str() {
                    "sse" => send_sse(None, None, Some(body)),
                    _ => send_data(body),
                }
            }
            Step::Repeat(count, size) => {
                (0..count).try_for_each(|_| send_data(data(vec![b'x'; size])))
            }
            Step::Events(count) => (0..count)
                .try_for_each(|number| send_sse(None, None, Some(data(number.to_string())))),
            Step::End(status, text) => {
                return Ok(WebResponse::new()
                    .with_status(status)
                    .header("x-late", "1")
                    .with_body(text)?);
            }
            Step::EndSize(status, size) => {
                let text = "é".repeat(size / 2);
                return Ok(WebResponse::new().with_status(status).with_body(text)?);
            }
            Step::Spin => spin(),
            Step::Sleep => {
                sleep(Duration::from_secs(86_400));
                Ok(())
            }
            Step::Trap => panic!("asked to"),
        };
        let answer = result.map_or_else(|error| error, |()| "ok".into());
        publish("stream-calls", answer)?;
    }
    Ok(WebResponse::new())
}
