//! Answers with as many mebibytes as its body says.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;

invoke!(big_response);
fn big_response(Json(mebibytes): Json<usize>) -> Vec<u8> {
    vec![b'x'; mebibytes << 20]
}
