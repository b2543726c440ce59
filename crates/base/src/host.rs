//! The only doors to the outside: processes, files, HTTP, the clock, the environment.
//! Nothing else in the engine starts a process, writes a file or asks the time.

pub mod background;
pub mod clock;
pub mod environment;
pub mod files;
pub mod http;
pub mod lock;
pub mod process;
pub mod secrets;
pub mod signal;
pub mod supervisor;
