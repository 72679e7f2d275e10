//! Panics with the request's body as the message.

use momento_functions_guest_web::invoke;

invoke!(panic);
fn panic(message: String) {
    panic!("{message}");
}
