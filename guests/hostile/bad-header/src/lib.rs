//! Answers with the headers its body lists, be they well-formed or not:
//! `[["x-split", "a\r\nset-cookie: b"], ["a name", "c"]]`.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResponse, invoke};

invoke!(bad_header);
fn bad_header(Json(headers): Json<Vec<(String, String)>>) -> WebResponse {
    WebResponse::new().with_headers(headers)
}
