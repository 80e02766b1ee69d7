"""The garbage collector: ``plan`` decides about one object, ``collector`` follows all of them and acts."""
