"""One reader a file; `mdic_ros.datasets.registry` lists them."""
