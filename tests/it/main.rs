//! Black box: the gateway on real ports against the sandbox. `harness` starts both; a file for each subject.

mod admin;
mod answers;
mod bodies;
mod harness;
mod openai;
mod raw;
mod sockets;
