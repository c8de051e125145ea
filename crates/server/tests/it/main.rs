//! The public listener and the operators' one, with real people, keys, tokens and listeners.

mod bodies;
mod cataloguing;
mod describing;
mod erasing;
mod governing;
mod listening;
mod living;
mod office;
mod operating;
mod reading;
mod refusing;
mod searching;
mod stopping;
mod tokens;
