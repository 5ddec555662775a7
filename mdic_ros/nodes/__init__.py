"""The ROS 2 nodes, and what only they need. Nothing else in mdic_ros imports rclpy."""
