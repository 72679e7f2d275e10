//! `/proxy?url=URL` sends the request on to URL, with its method, headers and body, and answers
//! what comes back. The credential stays here; neither body is ever in this function's memory.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebError, WebResponse, WebResult, invoke};
use momento_functions_http::{self as http, Request};

invoke!(proxy);
fn proxy(body: Data) -> WebResult<WebResponse> {
    let request = WebEnvironment::load();
    let url = request.query_parameters().get("url");
    let url = url.ok_or_else(|| WebError::message("say ?url="))?;
    let headers = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != "authorization");
    let response = http::invoke(
        Request::new(url, request.http_method())
            .with_headers(headers)
            .with_body(body),
    )?;
    Ok(WebResponse::new()
        .with_status(response.status)
        .with_headers(response.headers)
        .with_body(response.body)?)
}
