"""The scheduler: ``fit`` decides where a Pod can run, ``scheduler`` binds it there."""
