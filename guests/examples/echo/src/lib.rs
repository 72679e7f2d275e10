//! Answers with the request body. The body stays in the host's buffer: only its handle passes
//! through the guest, so an echo of a gigabyte costs this function no memory.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;

invoke!(echo);
fn echo(body: Data) -> Data {
    body
}
