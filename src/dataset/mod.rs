//! Imported datasets on disk: one folder each, `$XDG_DATA_HOME/sweep/datasets/NAME/`.
