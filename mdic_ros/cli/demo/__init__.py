"""`make demo`: a stereo drive through encoder node, DDS and decoder node, watched, recorded and summed up.

python -m mdic_ros.cli.demo --bag sample/street --out demo_output
"""
