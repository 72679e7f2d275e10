//! A read-through cache: `GET /read-through/KEY?url=URL` answers what the cache holds under KEY.
//! On a miss the spawn function `fill` is sent for the URL, and the caller hears 404 at once:
//! nobody waits for the origin, and the next reader finds the value.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResponse, WebResult, invoke};
use momento_functions_spawn::spawn;
use serde_json::json;

invoke!(read_through);
fn read_through(_: Data) -> WebResult<WebResponse> {
    let request = WebEnvironment::load();
    let key = request.http_path();
    if let Some(value) = momento_functions_cache::get::<Data>(key)? {
        let hit = WebResponse::new().header("x-cache", "hit");
        return Ok(hit.with_body(value)?);
    }
    let miss = WebResponse::new().header("x-cache", "miss");
    let Some(url) = request.query_parameters().get("url") else {
        return Ok(miss.with_status(400).with_body("say ?url=")?);
    };
    spawn("fill", json!({ "key": key, "url": url }).to_string())?;
    Ok(miss.with_status(404))
}
