//! `start` on the older generation of the crates: `POST /old-start/NAME` starts the spawn
//! function NAME, of either generation, with the request's body as its payload.

use momento_functions::{WebResponse, WebResult, post};
use momento_functions_host::spawn;
use momento_functions_host::web_extensions::FunctionEnvironment;

post!(start);
fn start(payload: Vec<u8>) -> WebResult<WebResponse> {
    let request = FunctionEnvironment::get_function_environment();
    spawn(request.http_path(), payload)?;
    Ok(WebResponse::new().with_status(202))
}
