//! Answers with the status its body names, be it one of HTTP's or not: `99`, `1000`, `65535`.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResponse, invoke};

invoke!(bad_status);
fn bad_status(Json(status): Json<u16>) -> WebResponse {
    WebResponse::new().with_status(status)
}
