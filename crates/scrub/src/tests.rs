//! What is found, what is let through, and how long it takes.

mod ordinary;
mod recall;
mod shapes;
mod speed;
