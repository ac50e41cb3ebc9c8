//! What bulk exports, imports and views need of the database: jobs with their files, named views, and reading many
//! resources as they stood at one point.

pub mod job;
pub mod scan;
pub mod view;
